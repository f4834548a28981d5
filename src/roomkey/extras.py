"""Errors for missing optional dependencies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["needs"]


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
