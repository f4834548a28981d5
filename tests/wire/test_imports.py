"""The wire package is pure: no other package of roomkey, no I/O, no clock."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import roomkey.wire

MODULES = sorted(Path(roomkey.wire.__file__).parent.glob("*.py"))
ALLOWED = {
    "__future__",
    "binascii",
    "codecs",
    "collections",
    "dataclasses",
    "enum",
    "hashlib",
    "itertools",
    "math",
    "orjson",
    "re",
    "roomkey",
    "typing",
    "websockets",
}


def imported(tree: ast.AST) -> list[str]:
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            module = node.module or ""
            # ``from roomkey.wire import json`` imports a module too.
            found += [f"{module}.{alias.name}" for alias in node.names] if module == "roomkey" else [module]
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_wire_imports_only_pure_modules(path):
    for name in imported(ast.parse(path.read_text("utf-8"))):
        assert name.partition(".")[0] in ALLOWED, name
        assert name.partition(".")[0] != "roomkey" or name.split(".")[:2] == ["roomkey", "wire"], name


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_wire_does_no_io_without_imports(path):
    names = {node.id for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Name)}
    assert not names & {"open", "print", "input", "exec", "eval", "compile", "__import__"}


def test_wire_loads_no_other_package_of_roomkey():
    """``roomkey`` itself loads the core; only further modules count."""
    script = (
        "import sys, json, roomkey; before = set(sys.modules); import roomkey.wire; "
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(json.loads(told.stdout))
    assert "roomkey.wire.socketio" in loaded
    assert {name for name in loaded if name.startswith("roomkey")} <= {
        "roomkey.wire",
        *(f"roomkey.wire.{path.stem}" for path in MODULES if path.stem != "__init__"),
    }


def test_public_names_exist_and_are_sorted():
    assert sorted(roomkey.wire.__all__) == roomkey.wire.__all__
    assert all(hasattr(roomkey.wire, name) for name in roomkey.wire.__all__)
