"""Checks of the private interfaces of other packages.

The limits on clients depend on them, so a version with a different interface must be an error at startup.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from roomkey.errors import ConfigError


def check_methods(package: str, supported: str, owner: type, methods: Mapping[str, tuple[str, ...]]) -> None:
    """Check that a class has these methods, with these first parameters.

    Raises:
        ConfigError: one is missing or different.
    """
    for name, wanted in methods.items():
        found = getattr(owner, name, None)
        parameters = tuple(inspect.signature(found).parameters)[1:] if callable(found) else None
        if parameters is None or parameters[: len(wanted)] != wanted:
            raise unsupported(package, supported, f"{owner.__name__}.{name}({', '.join(wanted)})")


def check_attributes(package: str, supported: str, owner: Any, attributes: Iterable[str]) -> None:
    """Check that the constructor of a class sets these attributes.

    Raises:
        ConfigError: one is missing.
    """
    names = owner.__init__.__code__.co_names
    for name in attributes:
        if name not in names:
            raise unsupported(package, supported, f"{owner.__name__}.{name}")


def unsupported(package: str, supported: str, missing: str) -> ConfigError:
    """Return the error for a package whose private interface is different."""
    return ConfigError(
        f"{package} {installed(package)} is not supported: {missing} is missing or different, so roomkey cannot limit "
        f"what clients send; install {package} {supported}"
    )


def installed(package: str) -> str:
    """Return the installed version of a package."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "(of an unknown version)"
