"""The error for missing packages, and the names of packages that are imported when they are first used."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType

import pytest

from roomkey import bus, django, hub, keysets, stores, testing

# Imports all modules of roomkey without some packages, and prints the errors.
PROGRAM = """
import importlib, pkgutil, sys

blocked, names = sys.argv[1], sys.argv[2:]
ALWAYS = {"roomkey", "joserfc", "cryptography", "cffi", "typing_extensions"}

class Missing:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        everything = top not in ALWAYS | sys.stdlib_module_names and not top.startswith("_")
        if everything if blocked == "everything" else top == blocked:
            raise ModuleNotFoundError(f"No module named {top!r}", name=top)

sys.meta_path.insert(0, Missing())
import roomkey

if not names:
    names = [found.name for found in pkgutil.walk_packages(roomkey.__path__, "roomkey.", onerror=lambda name: None)]
    names.remove("roomkey.__main__")
for name in names:
    try:
        importlib.import_module(name)
    except ImportError as error:
        print(name, error, sep=": ")
"""
PUBLIC = [
    *("roomkey.client", "roomkey.hub", "roomkey.socketio", "roomkey.auth", "roomkey.auth.jwks", "roomkey.auth.oauth"),
    *(
        "roomkey.stores.sql_accounts",
        "roomkey.stores.sql_sessions",
        "roomkey.stores.sql_revocations",
        "roomkey.stores.sql_clients",
    ),
    *(
        "roomkey.stores.sql_single_use",
        "roomkey.hub.http.runner",
        "roomkey.server.settings",
        "roomkey.server.app",
        "roomkey.wire",
    ),
]


def errors(blocked: str, *names: str) -> list[str]:
    command = [sys.executable, "-c", PROGRAM, blocked, *names]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=100).stdout.splitlines()


def test_missing_package_error_has_the_install_command():
    """Except the command line's own modules: its entry point has the error for them."""
    found = errors("everything")
    assert [line for line in found if "pip install 'roomkey[" not in line and "roomkey.cli" not in line] == []
    inside = {"roomkey.hub.http.runner", "roomkey.auth.jwks", "roomkey.auth.oauth"}  # their packages have the error
    assert {line.partition(":")[0] for line in found} >= set(PUBLIC) - inside


@pytest.mark.parametrize(
    ("package", "extra", "some"),
    [
        ("sqlalchemy", "sql", "roomkey.stores.sql_accounts"),
        ("aiosqlite", "sql", "roomkey.stores.sql_engines"),
        ("argon2", "server", "roomkey.auth"),
        ("httptools", "hub", "roomkey.hub.http.runner"),
        ("pydantic", "cli", "roomkey.server.settings"),
    ],
)
def test_module_error_names_package_and_extra(package, extra, some):
    assert errors(package, some) == [f"{some}: {some} requires {package}; run: pip install 'roomkey[{extra}]'"]


@pytest.mark.parametrize("package", [bus, hub, keysets, stores, testing], ids=lambda package: package.__name__)
def test_exported_names_can_be_imported(package: ModuleType):
    assert [name for name in package.__all__ if getattr(package, name) is None] == []


@pytest.mark.parametrize("package", [bus, django, hub, keysets, stores, testing], ids=lambda package: package.__name__)
def test_unknown_name_raises_attribute_error(package: ModuleType):
    with pytest.raises(AttributeError, match=f"module '{package.__name__}' has no attribute 'nothing'"):
        package.nothing  # noqa: B018
