"""The security checklist: its items, the markers on the tests, and the page that is made of both."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """scripts/checklist.py, which is not part of a package."""
    spec = importlib.util.spec_from_file_location("checklist_script", ROOT / "scripts/checklist.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for their annotations
    spec.loader.exec_module(module)
    return module


def test_every_item_has_a_test_and_every_marker_an_item(script: Any) -> None:
    assert script.problems(script.Checklist.load(), script.marked()) == []


def test_page_is_up_to_date(script: Any) -> None:
    page = script.page(script.Checklist.load(), script.marked())
    assert (ROOT / "docs/security/checklist.md").read_text() == page, "run make checklist"


def test_markers_are_found_on_modules_classes_functions_and_assignments(script: Any) -> None:
    source = """
pytestmark = [pytest.mark.long, pytest.mark.checklist("A1")]

@pytest.mark.checklist("A2", "A3")
async def test_function(): ...

@pytest.mark.checklist("A4")
class TestClass: ...

@pytest.mark.checklist("A5")
def helper(): ...

TestOne, TestTwo = Machine.TestCase, Other.TestCase
test_case = pytest.mark.checklist("A6")(Machine.TestCase)
"""
    assert list(script.of_module(source)) == [
        ("test_function", "A2"),
        ("test_function", "A3"),
        ("test_function", "A1"),
        ("TestClass", "A4"),
        ("TestClass", "A1"),
        ("TestOne", "A1"),
        ("TestTwo", "A1"),
        ("test_case", "A6"),
        ("test_case", "A1"),
    ]


def test_unknown_and_untested_items_are_reported(script: Any) -> None:
    checklist = script.Checklist(
        {"A": "Tokens"}, {"A1": "one", "A2": "two", "A3": "three"}, {"A3": "not yet", "A9": ""}
    )
    marks = [script.Marked(item, "tests/test_x.py", "test_x") for item in ("A1", "A3", "A7")]
    assert script.problems(checklist, marks) == [
        "tests/test_x.py: test_x: unknown item A7",
        "A2: no test is marked with it",
        "A3: it has a test and is listed as not applicable",
        "A9: unknown item in not_applicable",
    ]
