"""Measure whether cost grows: echo and delivery at 1 000, 3 000 and 10 000 connections, and rooms next to many others.

    python bench/socketio/growth.py [--peers NAME,NAME] [--quick]

It writes bench/results/growth.json and renews docs/benchmarks.md. As a load generator (with PORT PID) it is started by
itself.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
from pathlib import Path

import report
import servers
from load import IN_FLIGHT, SAY, TALKERS, Load, Record, hello, tokens
from wire import Client, frame

LEVELS = (1000, 3000, 10_000)
QUICK_LEVELS = (1000, 3000)
MEMBERS = 100  # of the measured room
ROOMS = (10, 10_000)  # the number of other rooms
PEERS = ("roomkey", "bun", "node", "python-socketio")
RESULTS = Path(__file__).parents[1] / "results" / "growth.json"


def connections(load: Load, levels: tuple[int, ...]) -> dict[str, dict[str, Record]]:
    """Measure the same operations with an increasing number of connections."""
    found: dict[str, dict[str, Record]] = {}
    clients = load.connect(200)
    load.meter.settle(load.swarm.idle)
    few = load.meter.memory()
    for level in levels:
        clients += load.connect(level - len(clients))
        load.meter.settle(load.swarm.idle)
        idle = {"kb": (load.meter.memory() - few) / (level - 200)}
        # The talkers are spread over all connections.
        echo = load.echo(clients=clients[:: level // TALKERS][:TALKERS])
        for client in clients:
            client.arrived = None
        found[str(level)] = {"memory": idle, "echo": echo, "deliver": load.spread(clients, IN_FLIGHT)}
    load.part()
    return found


def rooms(load: Load) -> dict[str, Record]:
    """Measure an event to one room, with few and with many other non-empty rooms."""
    names = [f"room-{number}" for number in range(ROOMS[-1])]
    crowd = 1000
    shares = [[*names[number::crowd], *(["hot"] if number < MEMBERS else [])] for number in range(crowd)]
    clients = [load.connect(1, [hello(tokens(1, rooms=share)[0])])[0] for share in shares]
    for client in clients[:MEMBERS]:
        join(load, client, "hot")
    found: dict[str, Record] = {}
    joined = 0
    for count in ROOMS:
        for number in range(joined, count):
            join(load, clients[number % crowd], names[number])
        joined = count
        event = b'42["room","hot",' + SAY.partition(b",")[2]
        found[str(count)] = load.spread(clients[:MEMBERS], IN_FLIGHT, event, 10_000)
        load.swarm.known = {}
    load.part()
    return found


def join(load: Load, client: Client, room: str) -> None:
    answers: list[bytes] = []
    client.arrived = lambda client, number, packet: answers.append(packet)
    client.send(frame(b'421["join","%s"]' % room.encode()))
    load.swarm.until(lambda: bool(answers))
    client.arrived = None
    if json.loads(answers[0].removeprefix(b"431")) != [room]:
        raise RuntimeError(f"joining was answered with {answers[0]!r}")


def generate(options: argparse.Namespace) -> int:
    servers.allow_connections()
    gc.disable()
    load = Load(*options.target, options.seconds, 0.3 if options.quick else 1.0)
    found: dict[str, object] = {}
    parts = {
        "connections": lambda: connections(load, QUICK_LEVELS if options.quick else LEVELS),
        "rooms": lambda: rooms(load),
    }
    for name, part in parts.items():
        try:
            found[name] = part()
        except (OSError, RuntimeError) as error:
            found[name] = {"error": str(error)}
            load.part()
    print(json.dumps(found))
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description="Whether cost stays flat as connections and rooms grow.")
    parser.add_argument("target", type=int, nargs="*", help=argparse.SUPPRESS)
    parser.add_argument("--peers", default=",".join(PEERS), help="names, separated by commas")
    parser.add_argument("--seconds", type=float, default=1.2, help="the server's processor time per figure")
    parser.add_argument("--quick", action="store_true", help="fewer connections and less time; write nothing")
    options = parser.parse_args()
    if options.target:
        return generate(options)
    servers.allow_connections()
    seconds = 0.3 if options.quick else options.seconds
    arguments = ["--seconds", str(seconds), *(["--quick"] if options.quick else [])]
    result: dict = {"seconds": seconds, "machine": servers.machine(), "versions": servers.versions(), "peers": {}}
    for name in options.peers.split(","):
        try:
            with servers.running(servers.PEERS[name]) as (port, pid):
                result["peers"][name] = servers.load("growth.py", port, pid, *arguments)
        except servers.NotAvailable as error:
            result["peers"][name] = {"error": str(error)}
        print(f"{name}: done", file=sys.stderr)
    print(report.growth_text(result))
    if not options.quick:
        report.save(RESULTS, result)
        report.write()
    return 0


if __name__ == "__main__":
    sys.exit(main())
