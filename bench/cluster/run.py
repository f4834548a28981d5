"""Measure what several nodes cost, and write bench/results/cluster.json.

    python bench/cluster/run.py [emits] [revocations] [workers] [forwarding] [--quick]

- **emits**: processor time per emit of the node that emits, of the node with the receiver, and of Redis, for two
  nodes of roomkey, of Socket.IO on Node.js with @socket.io/redis-adapter, and of python-socketio with
  AsyncRedisManager, which take turns. Either one client of the other node is in the room, or none; or none, but in one
  of the same partition.
- **revocations**: how long after a revocation on one node a socket of another node closes, with Redis and with SQL.
- **workers**: processor time per delivery of ``roomkey serve`` with 1, 2 and 4 workers.
- **forwarding**: processor time per forwarded request (bench/forward.py).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import secrets
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "socketio")]

from meter import Meter  # noqa: E402
from redis_server import running_redis  # noqa: E402
from wire import Client, Swarm, frame  # noqa: E402

from roomkey import Issuer, Key  # noqa: E402
from roomkey.bus.partitions import partition_of  # noqa: E402

RESULTS = HERE.parent / "results/cluster.json"
SECRET = secrets.token_urlsafe(32)
ISSUER = Issuer(Key.from_secret(SECRET))
PATTERNS = {"one by one": (1, 0.002), "in bursts of 50": (50, 0.02)}

WATCHED = "watched"
NEIGHBOR = next(
    name for name in (f"room{n}" for n in range(10_000)) if partition_of("/", name) == partition_of("/", WATCHED)
)
ROOMS = {
    WATCHED: "a receiver on the other node",
    "empty": "no receiver on the other node",
    NEIGHBOR: "no receiver, but the other node needs the partition",
}


class Process:
    """A server that prints its port."""

    def __init__(self, *command: str) -> None:
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "SECRET": SECRET})
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{command[:3]} did not start")
        self.port = int(line)
        self.meter = Meter(self.process.pid)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


class Site:
    """Clients of one node."""

    def __init__(self, node: Process) -> None:
        self.node, self.swarm = node, Swarm(node.port)

    def client(self, subject: str = "ada") -> Client:
        """Return a client that is admitted."""
        outcomes: list[bool] = []
        hello = frame(b'40{"token":"%s"}' % ISSUER.issue(subject).encode())
        client = Client(self.swarm, hello, lambda _, admitted: outcomes.append(admitted))
        self.swarm.until(lambda: bool(outcomes))
        if not outcomes[0]:
            raise ConnectionError("a valid token was refused")
        return client

    def call(self, client: Client, *event: Any) -> None:
        before = client.received
        client.send(frame(b"421" + json.dumps(event).encode()))
        self.swarm.until(lambda: client.received > before, 60)


class Pair:
    """Two nodes of one kind on a Redis of their own, with a client that emits and one that receives."""

    def __init__(self, kind: str, stack: contextlib.ExitStack) -> None:
        self.kind = kind
        url, redis = stack.enter_context(running_redis())
        if kind == "Node.js":
            command = ["node", str(HERE / "node_peer.mjs"), url]
        else:
            command = [sys.executable, str(HERE / "nodes.py"), kind, json.dumps({"redis": url})]
        self.nodes = [Process(*command), Process(*command)]
        for node in self.nodes:
            stack.callback(node.stop)
        self.here, self.there = Site(self.nodes[0]), Site(self.nodes[1])
        self.sender, self.receiver = self.here.client(), self.there.client("bob")
        self.there.call(self.receiver, "join", WATCHED)
        self.meters = [*(node.meter for node in self.nodes), Meter(redis)]

    def turn(self, room: str, number: int, pattern: str) -> list[float]:
        """Emit so often. Return the processor time per emit of the sender's node, the other node and Redis, in µs."""
        size, pause = PATTERNS[pattern]
        bursts = number // size
        before = [meter.cpu() for meter in self.meters]
        goal = self.receiver.received + (bursts * size if room == WATCHED else 0)
        done = self.sender.received + 1
        self.sender.send(frame(b"421" + json.dumps(["go", room, bursts, size, pause]).encode()))
        deadline = time.monotonic() + 60
        while self.sender.received < done or self.receiver.received < goal:
            self.here.swarm.step(0.005)
            self.there.swarm.step(0.005)
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.kind}: {goal - self.receiver.received} emits are missing")
        time.sleep(0.1)
        after = [meter.cpu() for meter in self.meters]
        return [(then - now) / (bursts * size) * 1e6 for now, then in zip(before, after, strict=True)]

    def serve(self) -> None:
        """Answer heartbeats."""
        self.here.swarm.step(0)
        self.there.swarm.step(0)


def emits(quick: bool) -> dict[str, Any]:
    number, rounds = (500, 3) if quick else (1000, 5)
    kinds = ["roomkey", "Node.js", "python-socketio"]
    found: dict[str, Any] = {}
    with contextlib.ExitStack() as stack:
        pairs = [Pair(kind, stack) for kind in kinds]
        for room, receivers in ROOMS.items():
            for pattern in PATTERNS:
                costs: dict[str, list[list[float]]] = {kind: [] for kind in kinds}
                for turn in range(rounds + 2):
                    for pair in pairs:
                        spent = pair.turn(room, number, pattern)
                        if turn > 1:  # the first ones warm up
                            costs[pair.kind].append(spent)
                        for other in pairs:
                            other.serve()
                name = f"{pattern}: {receivers}"
                found[name] = {
                    kind: [round(statistics.median(column), 1) for column in zip(*costs[kind], strict=True)]
                    for kind in kinds
                }
                print(name, json.dumps(found[name]))
    return found


def revocations(quick: bool) -> dict[str, Any]:
    """Return the milliseconds from the call to the end of the connection on the other node."""
    found: dict[str, Any] = {}
    for journal in ("Redis", "SQL"):
        with contextlib.ExitStack() as stack:
            url, redis = stack.enter_context(running_redis("--appendonly", "yes"))
            meter = Meter(redis)
            settings = {"redis": url}
            if journal == "SQL":
                settings["database"] = str(Path(stack.enter_context(tempfile.TemporaryDirectory())) / "revocations.db")
            command = [sys.executable, str(HERE / "nodes.py"), "roomkey", json.dumps(settings)]
            nodes = [Process(*command), Process(*command)]
            for node in nodes:
                stack.callback(node.stop)
            here, there = Site(nodes[0]), Site(nodes[1])
            operator = here.client("operator")
            time.sleep(1.0)
            times = []
            before = [node.meter.cpu() for node in nodes] + [meter.cpu()]
            count = 50 if quick else 300
            for number in range(count):
                victim = there.client(f"user{number}")
                begun = time.perf_counter()
                operator.send(frame(b'420["revoke","user%d"]' % number))
                while victim.is_open:
                    there.swarm.step(1.0)
                    if time.perf_counter() > begun + 10:
                        raise TimeoutError("the socket stays open")
                there.swarm.lost = 0
                times.append((time.perf_counter() - begun) * 1000)
                here.swarm.step(0)
            after = [node.meter.cpu() for node in nodes] + [meter.cpu()]
            times.sort()
            found[journal] = {
                "p50": round(times[len(times) // 2], 1),
                "p99": round(times[int(len(times) * 0.99)], 1),
                "max": round(times[-1], 1),
                "count": count,
                "redis_us": round((after[2] - before[2]) / count * 1e6),
            }
            print("revoke to close, ms:", journal, found[journal])
    return found


def workers(quick: bool) -> dict[str, Any]:
    """Return the processor time of all workers per delivery: 200 clients in one room, one of which sends."""
    found: dict[str, Any] = {}
    count, rounds, messages = 200, 3 if quick else 5, 50 if quick else 150
    with contextlib.ExitStack() as stack:
        serving = {number: served(number, stack) for number in (1, 2, 4)}
        costs: dict[int, list[float]] = {number: [] for number in serving}
        crowds = {}
        for number, (port, token, meter) in serving.items():
            swarm = Swarm(port)
            made: list[Client] = []
            hello = frame(b'40{"token":"%s"}' % token.encode())
            for wanted in range(1, count + 1):
                Client(swarm, hello, lambda client, admitted, made=made: made.append(client) if admitted else None)
                swarm.until(lambda made=made, wanted=wanted: len(made) == wanted)
            for client in made:
                before = client.received
                client.send(frame(b'421["join-room","red"]'))
                swarm.until(lambda client=client, before=before: client.received > before)
            crowds[number] = (swarm, made, meter)
        say = frame(b'42["message",{"room":"red","text":"hello world"}]')
        for turn in range(rounds + 1):
            for number, (swarm, made, meter) in crowds.items():
                before, received = meter.cpu(), swarm.received
                for sent in range(1, messages + 1):
                    made[sent % count].send(say)
                    swarm.until(lambda goal=received + sent * count, swarm=swarm: swarm.received >= goal)
                for other, _, _ in crowds.values():
                    other.step(0)
                if turn:
                    costs[number].append((meter.cpu() - before) / (messages * count) * 1e6)
        for number, spent in costs.items():
            found[str(number)] = {"us": round(statistics.median(spent), 2)}
            found[str(number)]["ratio"] = round(
                statistics.median(mine / one for mine, one in zip(spent, costs[1], strict=True)), 2
            )
    print("per delivery, workers:", json.dumps(found))
    return found


def served(number: int, stack: contextlib.ExitStack) -> tuple[int, str, Meter]:
    """Start ``roomkey serve --demo`` with workers. Return its port, a token, and its meter."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    command = [sys.executable, "-m", "roomkey", "serve", "--port", "0", "--workers", str(number), "--demo"]
    command += ["--demo-credentials-file", "credentials.json"]
    with (folder / "out").open("w") as out, (folder / "err").open("w") as err:
        process = subprocess.Popen(command, cwd=folder, stdout=out, stderr=err)
    stack.callback(process.wait)
    stack.callback(process.send_signal, signal.SIGTERM)
    deadline = time.monotonic() + 120
    while not (line := re.search(r"roomkey serves (http://\S+?:(\d+))", (folder / "out").read_text())):
        if time.monotonic() > deadline or process.poll() is not None:
            raise SystemExit((folder / "err").read_text()[-2000:])
        time.sleep(0.1)
    password = json.loads((folder / "credentials.json").read_text())["ada"]
    body = json.dumps({"username": "ada", "password": password}).encode()
    request = urllib.request.Request(f"{line[1]}/auth/login", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return int(line[2]), json.load(answer)["access_token"], Meter(process.pid)


def forwarding(quick: bool) -> dict[str, Any]:
    """Run bench/forward.py."""
    command = [sys.executable, str(HERE.parent / "forward.py"), *(["--quick"] if quick else [])]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    pattern = re.compile(r"(unix|tcp) +(.+?) +itself +([\d.]+) µs +owner +([\d.]+) µs \+ front +([\d.]+) µs = ([\d.]+)")
    found = {}
    for link, what, itself, owner, front, ratio in pattern.findall(output):
        numbers = {"itself": itself, "owner": owner, "front": front, "ratio": ratio}
        found[f"{what}, over {link}"] = {name: float(number) for name, number in numbers.items()}
    print(output)
    return found


def main() -> None:
    parts = {"emits": emits, "revocations": revocations, "workers": workers, "forwarding": forwarding}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(parts)}; default: all")
    parser.add_argument("--quick", action="store_true", help="fewer rounds; writes nothing")
    arguments = parser.parse_args()
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in arguments.parts or parts:
        known[name] = parts[name](arguments.quick)
        if not arguments.quick:
            RESULTS.write_text(json.dumps(known, indent=1) + "\n")


if __name__ == "__main__":
    main()
