"""Compare the cost of one application on roomkey and its peers, per operation, as ratios within one run.

    python bench/socketio/run.py [--quick] [--rounds N] [--seconds S] [--peers NAME,NAME] [--only NAME,NAME]

Peers take turns, each in a new process in every round, and the results are medians over the rounds. A full run writes
bench/results/socketio.json, docs/benchmarks.md and its plot; runs with --quick, --peers or --only write nothing. The
exit status is 1 if a target is missed or could not be measured.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import report
import servers
from load import OPERATIONS

RESULTS = Path(__file__).parents[1] / "results" / "socketio.json"
QUICK = ("memory", "connect", "refused", "echo", "deliver")


def visit(peer: servers.Peer, operations: list[str], arguments: list[str]) -> dict:
    """Measure one peer in one round."""
    arguments = [*arguments, "--only", ",".join(name for name in operations if name not in peer.lacks)]
    try:
        with servers.running(peer) as (port, pid):
            return servers.load("load.py", port, pid, *arguments)
    except servers.NotAvailable as error:
        return {"error": str(error)}


def main() -> int:
    parser = argparse.ArgumentParser(description="One application on roomkey and its peers.")
    parser.add_argument("--quick", action="store_true", help="one short round of the main operations")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.2, help="the server's processor time per operation")
    parser.add_argument("--peers", help="names, separated by commas: " + " ".join(servers.PEERS))
    parser.add_argument("--only", help="operations, separated by commas: " + " ".join(OPERATIONS))
    options = parser.parse_args()
    rounds, seconds, warmth = (1, 0.3, 0.3) if options.quick else (options.rounds, options.seconds, 1.0)
    names = options.peers.split(",") if options.peers else list(servers.PEERS)
    only = options.only.split(",") if options.only else list(QUICK if options.quick else OPERATIONS)
    arguments = ["--seconds", str(seconds), "--warmth", str(warmth)]
    servers.allow_connections()
    result: dict = {
        "at": time.strftime("%Y-%m-%d", time.gmtime()),
        "seconds": seconds,
        "machine": servers.machine(),
        "versions": servers.versions(),
        "rounds": [],
    }
    for number in range(rounds):
        turn = names[number % len(names) :] + names[: number % len(names)]
        found = {}
        for name in turn:
            print(f"round {number + 1} of {rounds}: {name}", file=sys.stderr, flush=True)
            found[name] = visit(servers.PEERS[name], only, arguments)
        result["rounds"].append(found)
    print(report.text(result))
    if not (options.quick or options.peers or options.only):
        report.save(RESULTS, result)
        report.write()
    return 0 if all(verdict.met for verdict in report.verdicts(result)) else 1


if __name__ == "__main__":
    sys.exit(main())
