"""What to install for the parts of roomkey that need other packages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["needs"]


@contextmanager
def needs(extra: str, module: str) -> Iterator[None]:
    """Around the imports of a module: say what to install if a package is missing.

    Args:
        extra: of roomkey, with the packages.
        module: the module that needs them.

    Raises:
        ImportError: with the command that installs the extra.
    """
    try:
        yield
    except ModuleNotFoundError as missing:
        if (missing.name or "roomkey").partition(".")[0] == "roomkey":
            raise
        raise ImportError(f"{module} requires {missing.name}; run: pip install 'roomkey[{extra}]'") from missing
