"""The modules that importing roomkey loads, and those that the pure core must not import."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import roomkey

CORE = sorted((Path(roomkey.__file__).parent / "core").glob("*.py"))
THIRD_PARTY = {"joserfc", "cryptography", "cffi", "_cffi_backend", "_openssl", "typing_extensions"}
FORBIDDEN = {"asyncio", "threading", "socket", "ssl", "os", "time", "datetime", "random", "selectors", "subprocess"}
# The named constructors of Verifier import it when they are called.
CONSTRUCTORS = ("verifier.py", "roomkey.keysets.verifiers")
FRAMEWORKS = {
    "socketio",
    "engineio",
    "flask",
    "starlette",
    "fastapi",
    "django",
    "aiohttp",
    "uvicorn",
    "redis",
    "httpx",
    "httpcore",
}


def test_importing_roomkey_loads_joserfc_and_cryptography_only():
    script = (
        "import sys, json; before = set(sys.modules); import roomkey; "
        "print(json.dumps(sorted({name.partition('.')[0] for name in set(sys.modules) - before})))"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(json.loads(told.stdout)) - sys.stdlib_module_names - {"roomkey"}
    # An editable install adds a finder, which is not part of roomkey.
    assert {name for name in loaded if not name.startswith("__editable__")} <= THIRD_PARTY
    assert "joserfc" in loaded


def imported(tree: ast.AST) -> list[tuple[str, ast.AST]]:
    found: list[tuple[str, ast.AST]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, node) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.module or "", node))
            assert node.level == 0, "imports are absolute"
    return found


@pytest.mark.parametrize("path", CORE, ids=lambda path: path.name)
def test_the_core_is_pure(path):
    tree = ast.parse(path.read_text("utf-8"))
    for name, _ in imported(tree):
        top = name.partition(".")[0]
        assert top not in FRAMEWORKS, name
        assert top not in FORBIDDEN or (top == "time" and path.name == "issuer.py"), name
        assert top in sys.stdlib_module_names | {"roomkey", "joserfc", "cryptography"}, name
        if (path.name, name) == CONSTRUCTORS:
            continue
        if top == "roomkey":
            assert name.startswith("roomkey.core") or name == "roomkey.errors", name


def test_the_constructors_import_the_key_sets_only_when_they_are_called():
    tree = ast.parse(next(path for path in CORE if path.name == CONSTRUCTORS[0]).read_text("utf-8"))
    assert CONSTRUCTORS[1] not in {node.module for node in tree.body if isinstance(node, ast.ImportFrom)}


def test_issuer_uses_the_clock_as_a_default_argument_only():
    tree = ast.parse(next(path for path in CORE if path.name == "issuer.py").read_text("utf-8"))
    uses = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == "time"]
    defaults = [
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        for default in (*node.args.defaults, *node.args.kw_defaults)
        if default is not None
        for inner in ast.walk(default)
    ]
    assert uses
    assert all(any(use is inner for inner in defaults) for use in uses)


def test_errors_import_nothing():
    tree = ast.parse((Path(roomkey.__file__).parent / "errors.py").read_text("utf-8"))
    assert {name for name, _ in imported(tree)} <= {"__future__", "collections.abc", "typing"}
