"""A small SVG of bars, readable on a light and on a dark page."""

from __future__ import annotations

from html import escape

WIDTH, LEFT, RIGHT, BAR, GAP, HEAD = 720, 130, 70, 13, 5, 28
STYLE = """<style>
text { font: 12px system-ui, sans-serif; fill: #333 }
.title { font-weight: 600 }
rect { fill: #9aa4b1 }
.ours { fill: #2f7fd6 }
.floor { fill: none; stroke: #9aa4b1 }
@media (prefers-color-scheme: dark) { text { fill: #ddd } rect { fill: #6b7684 } .ours { fill: #58a6ff }
.floor { fill: none; stroke: #6b7684 } }
</style>"""


def bars(panels: list[tuple[str, list[tuple[str, float]]]]) -> str:
    """Return one panel for each operation, each with its own scale that starts at 0."""
    parts, y = [], 0
    for title, figures in panels:
        if not figures:
            continue
        parts.append(f'<text class="title" x="0" y="{y + 16}">{escape(title)}</text>')
        y += HEAD
        most = max(value for _, value in figures)
        for name, value in figures:
            kind = {"roomkey": ' class="ours"', "raw": ' class="floor"'}.get(name, "")
            length = (WIDTH - LEFT - RIGHT) * value / most
            shown = f"{value:.0f}" if value >= 100 else f"{value:.1f}"
            parts.append(
                f'<text x="{LEFT - 8}" y="{y + 11}" text-anchor="end">{escape(name)}</text>'
                f'<rect{kind} x="{LEFT}" y="{y}" width="{length:.1f}" height="{BAR}"/>'
                f'<text x="{LEFT + length + 6:.1f}" y="{y + 11}">{shown}</text>'
            )
            y += BAR + GAP
        y += 8
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" width="{WIDTH}" height="{y}" role="img">'
    label = "<title>What a server uses per operation; shorter is better</title>"
    return "\n".join([head, label, STYLE, *parts, "</svg>"]) + "\n"
