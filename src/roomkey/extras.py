"""Optional dependencies: the error for a missing one, and names whose modules are imported when they are first used."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

__all__ = ["imported_when_used", "needs"]


@contextmanager
def needs(extra: str, module: str) -> Iterator[None]:
    """Wrap the imports of a module, so that the error for a missing package has the command that installs it.

    Args:
        extra: the extra of roomkey that installs the packages.
        module: the module that requires them.

    Raises:
        ImportError: a package is missing.
    """
    try:
        yield
    except ModuleNotFoundError as missing:
        if (missing.name or "roomkey").partition(".")[0] == "roomkey":
            raise
        raise ImportError(f"{module} requires {missing.name}; run: pip install 'roomkey[{extra}]'") from missing


def imported_when_used(package: str, **modules: str) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a package whose names are imported when they are first used (PEP 562).

    Hide it from type checkers, which would otherwise accept every name of the package.

    Args:
        package: the package.
        modules: for each name, its module in the package. A name can also be that of the module itself.
    """

    def find(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        path = f"{package}.{modules[name]}"
        module = import_module(path)
        return module if path.endswith(f".{name}") else getattr(module, name)

    return find
