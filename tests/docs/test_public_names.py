"""The documentation and the examples import only public names."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from support.djangosite.configured import configure

ROOT = Path(__file__).parents[2]
PACKAGES = (
    "",
    ".auth",
    ".bus",
    ".client",
    ".django",
    ".django.accounts",
    ".django.rest_framework",
    ".errors",
    ".fastapi",
    ".flask",
    ".hub",
    ".keysets",
    ".policies",
    ".routes",
    ".socketio",
    ".starlette",
    ".stores",
    ".testing",
)
PUBLIC = {f"roomkey{package}" for package in PACKAGES}
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
EXAMPLES = sorted(ROOT.glob("examples/*/*.py"))


def code_of(path: Path) -> str:
    text = path.read_text()
    return text if path.suffix == ".py" else "\n".join(re.findall(r"^```python\n(.*?)^```", text, re.M | re.S))


def imports(path: Path) -> Iterator[tuple[str, str]]:
    for node in ast.walk(ast.parse(code_of(path))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "roomkey":
            yield from ((node.module, name.name) for name in node.names)
        elif isinstance(node, ast.Import):
            yield from ((name.name, "") for name in node.names if name.name.split(".")[0] == "roomkey")


@pytest.mark.parametrize("path", PAGES + EXAMPLES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_are_public(path):
    if "roomkey.django" in code_of(path):
        configure()  # some of its modules require Django's settings
    private = [
        f"{module}: {name}"
        for module, name in imports(path)
        if module not in PUBLIC or (name and name not in import_module(module).__all__)
    ]
    assert private == []
