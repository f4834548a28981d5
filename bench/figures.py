"""Write measured numbers into docs/performance.md, between the comments that name them."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table: the first column is text, the others are numbers."""
    rule = ["---"] + ["--:"] * (len(head) - 1)
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, rule, *rows))


def write(name: str, text: str) -> None:
    """Replace the text between ``<!-- name -->`` and ``<!-- end -->``."""
    page = PAGE.read_text(encoding="utf-8")
    place = re.compile(rf"(?<=<!-- {name} -->\n).*?(?=<!-- end -->)", re.DOTALL)
    renewed, count = place.subn(lambda _: f"{text}\n", page)
    if count != 1:
        raise SystemExit(f"docs/performance.md has no place for {name}")
    PAGE.write_text(renewed, encoding="utf-8")
