"""Make the tables, the verdicts and docs/benchmarks.md from the raw results.

python bench/socketio/report.py
"""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from string import Template

import plot

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "bench" / "results"
PAGE = ROOT / "docs" / "benchmarks.md"
PLOT = ROOT / "docs" / "images" / "benchmarks.svg"
PEERS = ("roomkey", "bun", "node", "python-socketio", "floor")
TITLES = {
    "roomkey": "roomkey",
    "bun": "Bun",
    "node": "Node",
    "python-socketio": "python-socketio",
    "floor": "floor",
}
# Name, what is counted, its field in the raw results, the target per peer as a ratio or, for "", as a number.
MAIN = (
    ("connect", "connect and disconnect, µs", "cpu_us", {"node": 0.40, "bun": 1.0}),
    ("refused", "connect with a bad token, µs", "cpu_us", {"node": 0.55, "bun": 1.0}),
    ("echo", "event with an ack, µs", "cpu_us", {"node": 0.40, "bun": 0.6}),
    ("deliver", "delivery of a broadcast to 1 000, per receiver, µs", "cpu_us", {"node": 0.55, "bun": 0.95}),
    ("memory", "idle connection, KB of resident memory", "kb", {"": 12.0}),
)
FURTHER = (
    ("deliver_one", "delivery, one broadcast in flight, µs", "cpu_us"),
    ("binary", "event with an ack, 1 KiB attached both ways, µs", "cpu_us"),
    ("polling", "long-polling: connect and disconnect, µs", "cpu_us"),
    ("polling_echo", "long-polling: event with an ack, µs", "cpu_us"),
    ("latency", "latency of an echo at 1 000 a second, 50th percentile, ms", "p50_ms"),
    ("latency", "the same, 99th percentile, ms", "p99_ms"),
    ("deliver_one", "a broadcast's last of 1 000 receivers, 50th percentile, ms", "p50_last_ms"),
    ("deliver_one", "the same, 99th percentile, ms", "p99_last_ms"),
)
RATES = tuple((name, title.partition(", µs")[0].partition(", per")[0]) for name, title, _, _ in MAIN[:4])


@dataclass(frozen=True)
class Verdict:
    """A target, and the values that the rounds measured."""

    title: str
    peer: str  # the peer of the ratio; "" for a number
    target: float
    found: tuple[float, ...]

    @property
    def median(self) -> float | None:
        return statistics.median(self.found) if self.found else None

    @property
    def met(self) -> bool:
        return self.median is not None and self.median <= self.target

    @property
    def cells(self) -> list[str]:
        against = f"≤ {self.target:.2f} × {TITLES[self.peer]}" if self.peer else f"≤ {self.target:.0f}"
        if self.median is None:
            return [self.title, against, "–", "–", "not measured"]
        rounds = sum(value <= self.target for value in self.found)
        word = "met" if self.met else "missed"
        spread = f"{min(self.found):.2f} to {max(self.found):.2f}"
        return [self.title, against, f"{self.median:.2f}", spread, f"{word} ({rounds} of {len(self.found)} rounds)"]


def values(result: dict, peer: str, name: str, field: str) -> list[float | None]:
    """Return one value for each round."""
    return [found.get(peer, {}).get(name, {}).get(field) for found in result["rounds"]]


def median(result: dict, peer: str, name: str, field: str) -> float | None:
    known = [value for value in values(result, peer, name, field) if value is not None]
    return statistics.median(known) if known else None


def ratios(result: dict, name: str, field: str, peer: str) -> tuple[float, ...]:
    """Return the ratio of roomkey's value to the peer's of the same round, in which both have the same noise."""
    pairs = zip(values(result, "roomkey", name, field), values(result, peer, name, field), strict=True)
    return tuple(ours / theirs for ours, theirs in pairs if ours is not None and theirs)


def verdicts(result: dict) -> list[Verdict]:
    judged = []
    for name, title, field, targets in MAIN:
        for peer, target in targets.items():
            if peer:
                found = ratios(result, name, field, peer)
            else:
                found = tuple(value for value in values(result, "roomkey", name, field) if value is not None)
            judged.append(Verdict(title.rpartition(", ")[0] if peer else title, peer, target, found))
    return judged


def number(value: float | None) -> str:
    if value is None:
        return "–"
    if value >= 1000 or isinstance(value, int):
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


Table = list[list[str]]


def main_table(result: dict) -> Table:
    """Return every peer's medians, and roomkey's ratios to Node and Bun."""
    table = [["", *(TITLES[peer] for peer in PEERS), "roomkey / Node", "roomkey / Bun"]]
    for name, title, field, *_ in (*MAIN, *FURTHER):
        shown = [median(result, peer, name, field) for peer in PEERS]
        if any(value is not None for value in shown):
            both = (ratios(result, name, field, peer) for peer in ("node", "bun"))
            ends = [f"{statistics.median(found):.2f}" if found else "–" for found in both]
            table.append([title, *map(number, shown), *ends])
    return table


def rate_table(result: dict) -> Table:
    """Return the operations per second, and the part of its core that the load generator used."""
    table = [["per second (load generator's share of its core)", *(TITLES[peer] for peer in PEERS)]]
    for name, title in RATES:
        cells = []
        for peer in PEERS:
            rate, share = median(result, peer, name, "rate"), median(result, peer, name, "load_share")
            cells.append("–" if rate is None or share is None else f"{number(rate)} ({share:.0%})")
        table.append([title, *cells])
    return table


def verdict_table(result: dict) -> Table:
    head = ["target", "", "median ratio", "over the rounds", "verdict"]
    return [head, *(verdict.cells for verdict in verdicts(result))]


def failures(result: dict) -> list[str]:
    """Return the peers and operations that did not run, each once."""
    found = []
    for each in result["rounds"]:
        for peer, operations in each.items():
            if "error" in operations:
                found.append(f"{TITLES[peer]}: not available ({operations['error']})")
                continue
            found += [f"{TITLES[peer]}: {name}: {got['error']}" for name, got in operations.items() if "error" in got]
    return list(dict.fromkeys(found))


def growth_table(result: dict) -> Table:
    """Return echo, delivery and memory by number of connections, and a room's broadcast by number of rooms."""
    rows: Table = []
    parts = (("echo", "cpu_us", "event with an ack, µs"), ("deliver", "cpu_us", "delivery, per receiver, µs"))
    levels = {level for found in result["peers"].values() for level in found.get("connections", {}) if level.isdigit()}
    counts = {count for found in result["peers"].values() for count in found.get("rooms", {}) if count.isdigit()}
    peers = [peer for peer in PEERS if peer in result["peers"]]

    def row(title: str, part: str, key: str, *path: str) -> None:
        cells = []
        for peer in peers:
            got = result["peers"][peer].get(part, {}).get(key)
            for name in path:
                got = (got or {}).get(name)
            cells.append(number(got))
        rows.append([title, *cells])

    for name, field, title in (*parts, ("memory", "kb", "memory per connection, KB")):
        for level in sorted(levels, key=int):
            row(f"{title}: {number(int(level))} connections", "connections", level, name, field)
    for count in sorted(counts, key=int):
        row(f"delivery in a room of 100, µs: {number(int(count))} other rooms", "rooms", count, "cpu_us")
    return [["", *(TITLES[peer] for peer in peers)], *rows]


def plain(table: Table) -> str:
    widths = [max(len(row[n]) for row in table) for n in range(len(table[0]))]
    lines = []
    for row in table:
        first, *rest = (
            cell.ljust(width) if n == 0 else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  ".join([first, *rest]).rstrip())
    return "\n".join(lines)


def markdown(table: Table) -> str:
    head, *rows = table
    rule = ["---"] + ["---:"] * (len(head) - 1)
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, rule, *rows))


def text(result: dict) -> str:
    parts = [plain(main_table(result)), plain(rate_table(result)), plain(verdict_table(result)), *failures(result)]
    return "\n\n".join(parts)


def growth_text(result: dict) -> str:
    return "\n\n".join([plain(growth_table(result)), *growth_failures(result)])


def growth_failures(result: dict) -> list[str]:
    found = []
    for peer, parts in result["peers"].items():
        if "error" in parts:
            found.append(f"{TITLES[peer]}: not available ({parts['error']})")
        else:
            found += [f"{TITLES[peer]}: {part}: {got['error']}" for part, got in parts.items() if "error" in got]
    return found


def notes(lines: list[str]) -> str:
    return "".join(f"\n- {line}" for line in lines) + "\n" if lines else ""


def save(path: Path, result: dict) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def panels(result: dict) -> list[tuple[str, list[tuple[str, float]]]]:
    """Return the plot's title, and the value of each peer that has one."""
    found = []
    for name, title, field, *_ in MAIN:
        figures = [(peer, median(result, peer, name, field)) for peer in PEERS]
        found.append((title, [(TITLES[peer], value) for peer, value in figures if value is not None]))
    return found


def write() -> None:
    """Write docs/benchmarks.md and its plot."""
    result = json.loads((RESULTS / "socketio.json").read_text(encoding="utf-8"))
    growth_file = RESULTS / "growth.json"
    growth = json.loads(growth_file.read_text(encoding="utf-8")) if growth_file.exists() else {"peers": {}}
    machine = result["machine"]
    page = Template((Path(__file__).parent / "page.md").read_text(encoding="utf-8")).substitute(
        table=markdown(main_table(result)),
        verdicts=markdown(verdict_table(result)),
        rates=markdown(rate_table(result)),
        growth=markdown(growth_table(growth)) if growth["peers"] else "Not measured yet.",
        failures=notes(failures(result)),
        growth_failures=notes(growth_failures(growth)),
        rounds=len(result["rounds"]),
        seconds=result["seconds"],
        at=result["at"],
        machine=f"{machine['cpu']}, {machine['cores']} {'virtual ' if machine['virtual'] else ''}cores, "
        f"{machine['memory_gib']} GiB, Linux {machine['linux']}",
        versions=", ".join(f"{name} {version}" for name, version in result["versions"].items()),
    )
    PAGE.write_text(page, encoding="utf-8")
    PLOT.parent.mkdir(exist_ok=True)
    PLOT.write_text(plot.bars(panels(result)), encoding="utf-8")


if __name__ == "__main__":
    write()
