"""Find the package for which an import failed."""

from __future__ import annotations

__all__ = ["missing_package"]


def missing_package(error: ImportError) -> str | None:
    """Return the name of the missing third-party package; None if the import failed for another reason.

    If a module of roomkey requires an extra, it raises its own error, and the failed import is the cause.
    """
    missed = error.__cause__ if isinstance(error.__cause__, ModuleNotFoundError) else error
    name = missed.name if isinstance(missed, ModuleNotFoundError) else None
    return None if name is None or name.startswith("roomkey") else name
