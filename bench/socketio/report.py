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
PEERS = ("roomkey", "bun", "node", "python-socketio", "raw")
TITLES = {
    "roomkey": "roomkey",
    "bun": "Bun",
    "node": "Node",
    "python-socketio": "python-socketio",
    "raw": "raw",
}
RATIOS = ("node", "bun", "raw")
# Name, what is counted, its field in the results, and the targets: a peer ("" for a number), the target, the stretch.
MAIN = (
    ("connect", "connect and disconnect, µs", "cpu_us", (("node", 0.50, 0.40), ("raw", 1.6, None), ("bun", None, 1.0))),
    (
        "refused",
        "connect with a bad token, µs",
        "cpu_us",
        (("node", 0.55, None), ("raw", 2.2, None), ("bun", None, 1.0)),
    ),
    ("echo", "event with an ack, µs", "cpu_us", (("node", 0.60, None), ("raw", 1.3, 1.15), ("bun", 1.0, None))),
    ("deliver", "delivery of a broadcast to 1 000, per receiver, µs", "cpu_us", (("node", 0.30, None),)),
    ("polling_echo", "long-polling: event with an ack, µs", "cpu_us", (("node", 1.0, 0.7),)),
    ("memory", "idle connection, KB of resident memory", "kb", (("", 9.0, 6.0),)),
)
GROWTH = ("1000", "10000", 1.10)
"""The target for an echo: its cost with the second number of connections, as a multiple of that with the first."""
FURTHER = (
    ("deliver_one", "delivery, one broadcast in flight, µs", "cpu_us"),
    ("binary", "event with an ack, 1 KiB attached both ways, µs", "cpu_us"),
    ("polling", "long-polling: connect and disconnect, µs", "cpu_us"),
    ("latency", "latency of an echo at 1 000 a second, 50th percentile, ms", "p50_ms"),
    ("latency", "the same, 99th percentile, ms", "p99_ms"),
    ("deliver_one", "a broadcast's last of 1 000 receivers, 50th percentile, ms", "p50_last_ms"),
    ("deliver_one", "the same, 99th percentile, ms", "p99_last_ms"),
)
RATES = tuple((name, title.partition(", µs")[0].partition(", per")[0]) for name, title, _, _ in MAIN[:4])


@dataclass(frozen=True)
class Verdict:
    """A target, and the values that the rounds measured."""

    operation: str
    title: str
    peer: str  # the peer of the ratio; "" for a number
    target: float | None
    stretch: float | None
    found: tuple[float, ...]

    @property
    def median(self) -> float | None:
        return statistics.median(self.found) if self.found else None

    @property
    def met(self) -> bool:
        """Return True if the target is met. A stretch alone does not have to be."""
        return self.target is None or (self.median is not None and self.median <= self.target)

    def _limit(self, limit: float | None) -> str:
        if limit is None:
            return "–"
        return f"≤ {limit:.2f} × {TITLES[self.peer]}" if self.peer else f"≤ {limit:.0f}"

    @property
    def cells(self) -> list[str]:
        limits = [self.title, self._limit(self.target), self._limit(self.stretch)]
        if self.median is None:
            return [*limits, "–", "–", "not measured"]
        stretched = self.stretch is not None and self.median <= self.stretch
        word = "stretch met" if stretched else "missed" if self.target is None or not self.met else "met"
        spread = f"{min(self.found):.2f} to {max(self.found):.2f}"
        return [*limits, f"{self.median:.2f}", spread, word]


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


def medians(rounds: list[dict[str, dict]]) -> dict[str, dict]:
    """Return the medians of the rounds, by name and field; or the error."""
    found: dict[str, dict] = {}
    for name in dict.fromkeys(name for each in rounds for name in each):
        records = [each[name] for each in rounds if name in each]
        wrong = next((record for record in records if "error" in record), None)
        fields = wrong or {field: statistics.median(record[field] for record in records) for field in records[0]}
        found[name] = fields
    return found


def verdicts(result: dict) -> list[Verdict]:
    judged = []
    for name, title, field, targets in MAIN:
        for peer, target, stretch in targets:
            if peer:
                found = ratios(result, name, field, peer)
            else:
                found = tuple(value for value in values(result, "roomkey", name, field) if value is not None)
            judged.append(Verdict(name, title.rpartition(", ")[0] if peer else title, peer, target, stretch, found))
    return judged


def growth_verdict(growth: dict) -> str:
    """Return one sentence about the growth of an echo."""
    few, many, target = GROWTH
    levels = growth["peers"].get("roomkey", {}).get("connections", {})
    costs = [levels.get(level, {}).get("echo", {}).get("cpu_us") for level in (few, many)]
    if None in costs:
        return ""
    ratio = costs[1] / costs[0]
    word = "met" if ratio <= target else "missed"
    between = f"{number(int(many))} connections costs {ratio:.2f} times as much as with {number(int(few))}"
    return f"An event with an ack next to {between}. The target, {target:.2f}, is {word}."


def number(value: float | None) -> str:
    if value is None:
        return "–"
    if value >= 1000 or isinstance(value, int):
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


Table = list[list[str]]


def main_table(result: dict) -> Table:
    """Return every peer's medians, and roomkey's ratios to three of them."""
    table = [["", *(TITLES[peer] for peer in PEERS), *(f"roomkey / {TITLES[peer]}" for peer in RATIOS)]]
    for name, title, field, *_ in (*MAIN, *FURTHER):
        shown = [median(result, peer, name, field) for peer in PEERS]
        if any(value is not None for value in shown):
            each = (ratios(result, name, field, peer) for peer in RATIOS)
            ends = [f"{statistics.median(found):.2f}" if found else "–" for found in each]
            table.append([title, *map(number, shown), *ends])
    return table


def rate_table(result: dict) -> Table:
    """Return the operations per second, and the part of its core that the load generator used."""
    table = [["per second (load generator's share of its core)", *(TITLES[peer] for peer in PEERS)]]
    for name, title in RATES:
        if median(result, "roomkey", name, "rate") is None:
            continue
        cells = []
        for peer in PEERS:
            rate, share = median(result, peer, name, "rate"), median(result, peer, name, "load_share")
            cells.append("–" if rate is None or share is None else f"{number(rate)} ({share:.0%})")
        table.append([title, *cells])
    return table


def verdict_table(result: dict) -> Table:
    """Return the targets of the operations that were run."""
    ran = {name for each in result["rounds"] for operations in each.values() for name in operations}
    head = ["", "target", "stretch", "median", "over the rounds", "verdict"]
    return [head, *(verdict.cells for verdict in verdicts(result) if verdict.operation in ran)]


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
    return "\n\n".join([plain(growth_table(result)), growth_verdict(result), *growth_failures(result)])


def growth_failures(result: dict) -> list[str]:
    found = []
    for peer, parts in result["peers"].items():
        if "error" in parts:
            found.append(f"{TITLES[peer]}: not available ({parts['error']})")
        else:
            found += [f"{TITLES[peer]}: {part}: {got['error']}" for part, got in parts.items() if "error" in got]
    return found


def notes(lines: list[str]) -> str:
    """Return a paragraph that lists what failed; an empty text if nothing did."""
    failed = "\n".join(f"- {line}" for line in lines)
    return f"\n\nIn some rounds, these turns failed. The medians leave them out:\n\n{failed}" if lines else ""


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
        growth_verdict=growth_verdict(growth),
        failures=notes(failures(result)),
        growth_failures=notes(growth_failures(growth)),
        rounds=len(result["rounds"]),
        seconds=result["seconds"],
        source=result["source"],
        at=result["at"],
        growth_at=growth.get("at", "an unknown day"),
        machine=f"{machine['cpu']}, {machine['cores']} {'virtual ' if machine['virtual'] else ''}cores, "
        f"{machine['memory_gib']} GiB, {machine['system']}",
        versions=", ".join(f"{name} {version}" for name, version in result["versions"].items()),
    )
    PAGE.write_text(page, encoding="utf-8")
    PLOT.parent.mkdir(exist_ok=True)
    PLOT.write_text(plot.bars(panels(result)), encoding="utf-8")


if __name__ == "__main__":
    write()
