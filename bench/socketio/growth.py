"""Measure whether cost grows: echo and delivery at 1 000, 3 000 and 10 000 connections, and rooms next to many others.

    python bench/socketio/growth.py [--peers NAME,NAME] [--quick]

One server of a peer runs for each number of connections, side by side, and they take turns. It writes
bench/results/growth.json and renews docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from functools import partial
from pathlib import Path

import report
import servers
from load import IN_FLIGHT, SAY, TALKERS, Load, Operation, Record, hello, tokens
from turns import FULL, QUICK, Effort, side_by_side
from wire import Client, frame

LEVELS = (1000, 3000, 10_000)
QUICK_LEVELS = (1000, 5000)
MEMBERS = 100  # of the measured room
ROOMS = (10, 10_000)  # the number of other rooms
PEERS = ("roomkey", "bun", "node")  # python-socketio would take as long as these together
RESULTS = Path(__file__).parents[1] / "results" / "growth.json"

Found = dict[str, dict[str, Record]]


def connections(peer: servers.Peer, levels: tuple[int, ...], effort: Effort) -> Found:
    """Measure the same operations with an increasing number of connections."""
    found: Found = {str(level): {} for level in levels}
    with side_by_side((str(level), peer) for level in levels) as turns:
        everybody = {}
        for level, load in turns.loads.items():
            clients = load.connect(200)
            load.meter.settle(load.swarm.idle)
            few = load.meter.memory()
            clients += load.connect(int(level) - len(clients))
            load.meter.settle(load.swarm.idle)
            found[level]["memory"] = {"kb": (load.meter.memory() - few) / (int(level) - 200)}
            everybody[level] = clients
        operations = {
            # The talkers are spread over all connections.
            "echo": {
                level: partial(Load.echo, clients=clients[:: len(clients) // TALKERS][:TALKERS])
                for level, clients in everybody.items()
            },
            "deliver": {level: partial(spread, clients=clients) for level, clients in everybody.items()},
        }
        for name, prepare in operations.items():
            for level, record in report.medians(turns.measure(prepare, effort)).items():
                found[level][name] = record
    return found


def spread(load: Load, clients: list[Client]) -> Operation:
    for client in clients:
        client.arrived = None
    return load.spread(clients, IN_FLIGHT)


def rooms(peer: servers.Peer, effort: Effort) -> dict[str, Record]:
    """Measure an event to one room, with few and with many other non-empty rooms."""
    with side_by_side((str(count), peer) for count in ROOMS) as turns:
        return report.medians(turns.measure({str(count): partial(room, count=count) for count in ROOMS}, effort))


def room(load: Load, count: int) -> Operation:
    """Join the measured room, and a number of others."""
    names = [f"room-{number}" for number in range(count)]
    crowd = 1000
    shares = [[*names[number::crowd], *(["hot"] if number < MEMBERS else [])] for number in range(crowd)]
    clients = [load.connect(1, [hello(tokens(1, rooms=share)[0])])[0] for share in shares]
    for client in clients[:MEMBERS]:
        join(load, client, "hot")
    for number, name in enumerate(names):
        join(load, clients[number % crowd], name)
    event = b'42["room","hot",' + SAY.partition(b",")[2]
    # One client may not send as many events per second as a server sends to a small room.
    return load.spread(clients[:MEMBERS], IN_FLIGHT, event, senders=MEMBERS)


def join(load: Load, client: Client, name: str) -> None:
    answers: list[bytes] = []
    client.arrived = lambda client, number, packet: answers.append(packet)
    client.send(frame(b'421["join","%s"]' % name.encode()))
    load.swarm.until(lambda: bool(answers))
    client.arrived = None
    if json.loads(answers[0].removeprefix(b"431")) != [name]:
        raise RuntimeError(f"joining was answered with {answers[0]!r}")


def main() -> int:
    parser = argparse.ArgumentParser(description="Whether cost stays flat as connections and rooms grow.")
    parser.add_argument("--peers", help="names, separated by commas")
    parser.add_argument("--quick", action="store_true", help="fewer connections and less time; write nothing")
    options = parser.parse_args()
    effort, levels = (QUICK, QUICK_LEVELS) if options.quick else (FULL, LEVELS)
    names = options.peers.split(",") if options.peers else PEERS
    result: dict = {"at": time.strftime("%Y-%m-%d", time.gmtime()), "seconds": effort.seconds, "peers": {}}
    for name in names:
        print(f"measuring {name}", file=sys.stderr, flush=True)
        peer, found = servers.PEERS[name], {}
        parts = {"connections": partial(connections, peer, levels, effort), "rooms": partial(rooms, peer, effort)}
        for part, measure in parts.items():
            try:
                found[part] = measure()
            except (OSError, RuntimeError, servers.NotAvailable) as error:
                found[part] = {"error": str(error)}
        result["peers"][name] = found
    print(report.growth_text(result))
    if not (options.quick or options.peers):
        report.save(RESULTS, result)
        report.write()
    return 0


if __name__ == "__main__":
    sys.exit(main())
