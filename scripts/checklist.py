"""Write docs/security/checklist.md from checklist.toml and the ``checklist`` markers on the tests.

    python scripts/checklist.py             write the page
    python scripts/checklist.py --check     exit with 1 if the page, a marker or an item is wrong

The markers are read from the source, so that nothing is imported.
"""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
ITEMS = ROOT / "docs/security/checklist.toml"
PAGE = ROOT / "docs/security/checklist.md"

HEAD = """\
# Security checklist

What roomkey guarantees against hostile input, and the tests that show it. Each item has at least one test, or a reason
why it does not apply yet. Each test names its items with `@pytest.mark.checklist("A1")`. To run the tests of all items,
use `pytest -m checklist`.

`make checklist` generates this page from `checklist.toml` and the tests. Do not edit it by hand.
"""


@dataclass(frozen=True, order=True)
class Marked:
    """One test, and one item that it shows."""

    item: str
    path: str
    test: str


@dataclass(frozen=True)
class Checklist:
    """The content of checklist.toml."""

    titles: dict[str, str]
    items: dict[str, str]
    not_applicable: dict[str, str]

    @classmethod
    def load(cls, path: Path = ITEMS) -> Checklist:
        groups = tomllib.loads(path.read_text())
        not_applicable = groups.pop("not_applicable", {})
        titles = {letter: group.pop("title") for letter, group in groups.items()}
        return cls(titles, {item: text for group in groups.values() for item, text in group.items()}, not_applicable)


def marked(tests: Path = ROOT / "tests") -> list[Marked]:
    """Return what is marked in all test files."""
    found = []
    for path in sorted(tests.rglob("*.py")):
        source = path.read_text()
        if "mark.checklist(" in source:
            where = path.relative_to(ROOT).as_posix()
            found += [Marked(item, where, test) for test, item in of_module(source)]
    return found


def of_module(source: str) -> Iterator[tuple[str, str]]:
    """Yield the test and the item of each marker: on the module, a class, a function or an assignment."""
    of_all: list[str] = []
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign):
            items = list(_items(node.value))
            names = [part.id for target in node.targets for part in ast.walk(target) if isinstance(part, ast.Name)]
            if "pytestmark" in names:
                of_all += items
            yield from ((name, item) for name in names if name.startswith(("test_", "Test")) for item in items + of_all)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            own = [item for decorator in node.decorator_list for item in _items(decorator)]
            yield from ((node.name, item) for item in own + of_all if node.name.startswith(("test_", "Test")))


def _items(tree: ast.expr) -> Iterator[str]:
    """Yield the arguments of each ``pytest.mark.checklist(...)`` in an expression."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "checklist":
            yield from (str(ast.literal_eval(argument)) for argument in node.args)


def problems(checklist: Checklist, found: list[Marked]) -> list[str]:
    """Return one line for each unknown item and each item without a test."""
    tested = {mark.item for mark in found}
    items, excused = checklist.items, checklist.not_applicable
    return [
        *(f"{m.path}: {m.test}: unknown item {m.item}" for m in found if m.item not in items),
        *(f"{item}: no test is marked with it" for item in items if item not in tested and item not in excused),
        *(f"{item}: it has a test and is listed as not applicable" for item in excused if item in tested),
        *(f"{item}: unknown item in not_applicable" for item in excused if item not in items),
    ]


def page(checklist: Checklist, found: list[Marked]) -> str:
    """Return the text of the page."""
    tests: dict[str, dict[str, list[str]]] = {}
    for mark in sorted(set(found)):
        tests.setdefault(mark.item, {}).setdefault(mark.path, []).append(mark.test)
    lines = [HEAD]
    for letter, title in checklist.titles.items():
        lines.append(f"## {letter}. {title}\n")
        for item, text in checklist.items.items():
            if item.rstrip("0123456789") == letter:
                lines.append(f"**{item}.** {text}\n")
                lines += [
                    f"- [{path}](../../{path}): " + ", ".join(f"`{name}`" for name in names)
                    for path, names in tests.get(item, {}).items()
                ]
                if item in checklist.not_applicable:
                    lines.append(f"- Not applicable yet: {checklist.not_applicable[item]}")
                lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def main() -> int:
    checklist, found = Checklist.load(), marked()
    wrong = problems(checklist, found)
    text = page(checklist, found)
    if "--check" not in sys.argv:
        PAGE.write_text(text)
    elif PAGE.read_text() != text:
        wrong.append("docs/security/checklist.md is out of date; run make checklist")
    print("\n".join(wrong), file=sys.stderr)
    return bool(wrong)


if __name__ == "__main__":
    raise SystemExit(main())
