"""Checks of the private interfaces that the hub uses in other packages.

A version with a different interface must be an error at startup, because what bounds the clients would be missing.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from roomkey.errors import ConfigError


def check_methods(package: str, supported: str, owner: type, methods: Mapping[str, tuple[str, ...]]) -> None:
    for name, wanted in methods.items():
        found = getattr(owner, name, None)
        parameters = tuple(inspect.signature(found).parameters)[1:] if callable(found) else None
        if parameters is None or parameters[: len(wanted)] != wanted:
            raise unsupported(package, supported, f"{owner.__name__}.{name}({', '.join(wanted)})")


def check_attributes(package: str, supported: str, owner: Any, attributes: Iterable[str]) -> None:
    """Check that the constructor sets these attributes: a class that has them in its instances alone tells no more."""
    names = owner.__init__.__code__.co_names
    for name in attributes:
        if name not in names:
            raise unsupported(package, supported, f"{owner.__name__}.{name}")


def unsupported(package: str, supported: str, missing: str) -> ConfigError:
    return ConfigError(
        f"{package} {installed(package)} is not supported: {missing} is missing or different, so roomkey cannot limit "
        f"what clients send; install {package} {supported}"
    )


def installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(of an unknown version)"
