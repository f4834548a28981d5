"""Compare the cost of one application on roomkey and its peers, per operation, as ratios within one run.

    python bench/socketio/run.py [--quick] [--rounds N] [--seconds S] [--peers NAME,NAME] [--only NAME,NAME]

All peers run side by side and take turns at each operation, after each has got warm. A full run takes about ten
minutes and writes bench/results/socketio.json, docs/benchmarks.md and its plot. Runs with --quick, --peers or --only
measure in the same way, and write nothing. The exit status is 1 if a target is missed or could not be measured.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

import report
import servers
from load import MEMORY, OPERATIONS
from turns import FULL, QUICK, Turns, side_by_side

RESULTS = Path(__file__).parents[1] / "results" / "socketio.json"
MAIN = (MEMORY, "connect", "refused", "echo", "deliver", "polling_echo")


def memory(turns: Turns) -> dict[str, dict]:
    """Measure the memory of idle connections on each server, once."""
    found = {}
    for name, load in turns.loads.items():
        try:
            found[name] = {MEMORY: load.memory()}
        except (OSError, RuntimeError) as error:
            found[name] = {MEMORY: {"error": str(error)}}
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description="One application on roomkey and its peers.")
    parser.add_argument("--quick", action="store_true", help="short rounds of the main operations")
    parser.add_argument("--rounds", type=int, help="turns of each server")
    parser.add_argument("--seconds", type=float, help="the server's processor time per turn")
    parser.add_argument("--peers", help="names, separated by commas: " + " ".join(servers.PEERS))
    parser.add_argument("--only", help="operations, separated by commas: " + " ".join((MEMORY, *OPERATIONS)))
    options = parser.parse_args()
    effort = QUICK if options.quick else FULL
    effort = replace(effort, rounds=options.rounds or effort.rounds, seconds=options.seconds or effort.seconds)
    names = options.peers.split(",") if options.peers else list(servers.PEERS)
    only = options.only.split(",") if options.only else list(MAIN if options.quick else (MEMORY, *OPERATIONS))
    result: dict = {
        "at": time.strftime("%Y-%m-%d", time.gmtime()),
        "seconds": effort.seconds,
        "source": servers.METER,
        "machine": servers.machine(),
        "versions": servers.versions(),
        "rounds": [{} for _ in range(effort.rounds)],
    }
    with side_by_side((name, servers.PEERS[name]) for name in names) as turns:
        for peer, error in turns.errors.items():
            result["rounds"][0][peer] = {"error": error}
        for name in only:
            print(f"measuring {name}", file=sys.stderr, flush=True)
            if name == MEMORY:
                result["rounds"][0] |= memory(turns)
                continue
            ready = {peer: OPERATIONS[name] for peer in turns.loads if name not in servers.PEERS[peer].lacks}
            for whole, found in zip(result["rounds"], turns.measure(ready, effort), strict=True):
                for peer, record in found.items():
                    whole.setdefault(peer, {})[name] = record
            turns.part()
    print(report.text(result))
    if not (options.quick or options.peers or options.only):
        report.save(RESULTS, result)
        report.write()
    return 0 if all(verdict.met for verdict in report.verdicts(result)) else 1


if __name__ == "__main__":
    sys.exit(main())
