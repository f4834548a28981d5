"""The load generator: runs every operation on one server, and measures the server's cost for each.

    SECRET=... python bench/socketio/load.py PORT PID [--seconds S] [--only NAME,NAME]

It prints one JSON object. run.py starts it; the server is on one core and this on another.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from itertools import cycle

import jwt
import servers
from meter import Meter
from polling import Polling
from wire import BINARY, TEXT, Caller, Client, Swarm, frame

AT_ONCE = 64  # connects in flight
TALKERS = 50  # connections that request echoes, each with one request in flight
AUDIENCE = 1000  # receivers of a broadcast
IN_FLIGHT = 4  # broadcasts
IDLE = 3000  # connections that do nothing
PACE = 1000  # echoes per second for the latency
BLOB = bytes(range(256)) * 4

SAY = b'["message",{"text":"hello world","from":"user"}]'
Record = dict[str, float]


def tokens(count: int, **claims: object) -> list[str]:
    now = int(time.time())
    usual = {"role": "member", "rooms": ["a", "b"], "iat": now, "exp": now + 7200}
    return [
        jwt.encode(
            {"sub": f"user-{n}", "name": f"User {n}", **usual, **claims}, os.environ["SECRET"], algorithm="HS256"
        )
        for n in range(count)
    ]


def hello(token: str) -> bytes:
    return frame(b'40{"token":"%s"}' % token.encode())


class Load:
    """The operations. Each measuring method returns a record; `seconds` is the server's time that it should take."""

    def __init__(self, port: int, pid: int, seconds: float, warmth: float = 1.0) -> None:
        self.swarm, self.meter, self.seconds = Swarm(port), Meter(pid), seconds
        self.warmth = warmth
        signed = tokens(1000)
        self.good = [hello(token) for token in signed]
        self.bad = [hello(token[:-6] + "AAAAAA") for token in signed]

    # measuring

    def measure(self, operate: Callable[[], int], warm: int) -> Record:
        """Repeat until the server has used enough time that clock ticks do not matter."""
        done = 0
        while done < warm * self.warmth:
            done += operate()
        self.meter.settle(self.swarm.idle)
        gc.collect()
        before, own, start, done = self.meter.cpu(), time.process_time(), time.monotonic(), 0
        while True:
            done += operate()
            elapsed, used = time.monotonic() - start, self.meter.cpu() - before
            if used >= self.seconds or elapsed > 10 * self.seconds + 5:
                break
        own = time.process_time() - own
        total = self.meter.settle(self.swarm.idle) - before
        return {
            "cpu_us": total / done * 1e6,
            "rate": done / elapsed,
            "operations": done,
            "server_share": used / elapsed,
            "load_share": own / elapsed,
        }

    def repeat(self, begin: Callable[[Callable[[], None]], None], count: int) -> int:
        """Do something `count` times, a few at once; `begin` receives the function to call at its end."""
        begun = done = 0

        def more() -> None:
            nonlocal begun
            begun += 1
            begin(ended)

        def ended() -> None:
            nonlocal done
            done += 1
            if begun < count:
                more()

        for _ in range(AT_ONCE):
            more()
        self.swarm.until(lambda: done == count)
        return count

    def connect(self, count: int, hellos: list[bytes] | None = None) -> list[Client]:
        """Open connections, a few at once, and keep them."""
        made: list[Client] = []
        supply = cycle(hellos or self.good)

        def settled(client: Client, outcome: bool) -> None:
            if not outcome:
                raise ConnectionError("a good token was refused")
            made.append(client)

        begun = 0
        while begun < count:
            for _ in range(min(AT_ONCE, count - begun)):
                Client(self.swarm, next(supply), settled)
                begun += 1
            self.swarm.until(lambda begun=begun: len(made) == begun)
        return made

    def part(self) -> None:
        self.swarm.close()
        self.meter.settle(self.swarm.idle)

    # operations

    def come_and_go(self, hellos: list[bytes], expected: bool, warm: int) -> Record:
        """Measure connections that end as soon as the server has decided about their token."""
        supply = cycle(hellos)
        wrong = 0

        def begin(ended: Callable[[], None]) -> None:
            def settled(client: Client, outcome: bool) -> None:
                nonlocal wrong
                client.close()
                wrong += outcome is not expected
                ended()

            Client(self.swarm, next(supply), settled)

        record = self.measure(lambda: self.repeat(begin, 500), warm)
        if wrong:
            raise RuntimeError(f"{wrong} connections were not decided as expected")
        return record

    def admitted(self) -> Record:
        return self.come_and_go(self.good, True, 2000)

    def refused(self) -> Record:
        return self.come_and_go(self.bad, False, 2000)

    def echo(self, requests: list[bytes] | None = None, clients: list[Client] | None = None) -> Record:
        """Measure events with an acknowledgement, one in flight per connection."""
        clients = clients or self.connect(TALKERS)
        requests = requests or [
            frame(b'42%d["message",{"ack":true,"text":"hello world %d"}]' % (n, n)) for n in range(100)
        ]
        size = len(requests)

        def answered(client: Client, number: int, packet: bytes) -> None:
            if client.received < size:
                client.send(requests[client.received])

        def batch() -> int:
            goal = self.swarm.received + size * len(clients)
            for client in clients:
                client.received, client.arrived = 0, answered
                client.send(requests[0])
            self.swarm.until(lambda: self.swarm.received == goal)
            return size * len(clients)

        return self.measure(batch, 20_000)

    def binary(self) -> Record:
        """Measure echoes with an attachment of 1 KiB in both directions."""
        said = b'["message",{"ack":true,"data":{"_placeholder":true,"num":0}}]'
        return self.echo([frame(b"451-%d%s" % (n, said)) + frame(BLOB, BINARY) for n in range(50)])

    def spread(self, clients: list[Client], in_flight: int, event: bytes = b"42" + SAY, warm: int = 30_000) -> Record:
        """Measure an event from the first client to all of these clients, per receiver."""
        sender, audience, said = clients[0], len(clients), frame(event)
        self.swarm.expect(b"42" + SAY)
        rounds = max(4, 12_000 // audience)
        taken: list[float] = []

        def some() -> int:
            sent = 0

            def pump(client: Client, number: int, packet: bytes) -> None:
                nonlocal sent
                for _ in range(min(number, rounds - sent)):
                    sent += 1
                    sender.send(said)

            goal = self.swarm.received + rounds * audience
            sender.arrived = pump
            pump(sender, in_flight, b"")
            self.swarm.until(lambda: self.swarm.received == goal)
            sender.arrived = None
            return rounds * audience

        def one() -> int:
            goal = self.swarm.received
            for _ in range(rounds):
                goal += audience
                start = time.perf_counter()
                sender.send(said)
                self.swarm.until(lambda goal=goal: self.swarm.received == goal)
                taken.append(time.perf_counter() - start)
            return rounds * audience

        for client in clients:
            client.received = 0
        record = self.measure(some if in_flight > 1 else one, warm)
        if len({client.received for client in clients}) > 1:
            raise RuntimeError("some clients received more of the broadcasts than others")
        return record | (percentiles(taken, "last_ms") if taken else {})

    def deliver(self) -> Record:
        return self.spread(self.connect(AUDIENCE), IN_FLIGHT)

    def deliver_one(self) -> Record:
        return self.spread(self.connect(AUDIENCE), 1)

    def memory(self) -> Record:
        """Measure the resident memory of idle connections, in addition to a thousand existing ones."""
        count = int(IDLE * self.warmth) or 1
        self.connect(1000)
        self.meter.settle(self.swarm.idle)
        before = self.meter.memory()
        self.connect(count)
        self.meter.settle(self.swarm.idle)
        return {"kb": (self.meter.memory() - before) / count, "operations": count}

    def latency(self) -> Record:
        """Measure echoes at a fixed pace, even if the server is slower; from the planned time to the answer."""
        clients = self.connect(TALKERS)
        count = int(PACE * max(2.0, 3 * self.seconds))
        due, taken = [0.0] * count, []

        def answered(client: Client, number: int, packet: bytes) -> None:
            taken.append(time.perf_counter() - due[int(packet[2 : packet.index(b"[")])])

        for client in clients:
            client.arrived = answered
        start = time.perf_counter() + 0.01
        for n in range(count):
            due[n] = start + n / PACE
            while time.perf_counter() < due[n]:
                self.swarm.step(0)
            clients[n % TALKERS].send(frame(b'42%d["message",{"ack":true,"text":"hello"}]' % n))
        self.swarm.until(lambda: len(taken) == count)
        return {"operations": count} | percentiles(taken[count // 5 :], "ms")

    def polling(self) -> Record:
        """Measure connects over long-polling: open, token, answer, close; four requests on one connection."""
        supply, wrong = cycle(tokens(1000)), 0

        def begin(ended: Callable[[], None]) -> None:
            def admitted(session: Polling, outcome: bool) -> None:
                nonlocal wrong
                wrong += not outcome
                session.post(b"1", left)

            def left(caller: Caller, body: bytes) -> None:
                caller.close()
                ended()

            Polling(self.swarm, next(supply), admitted)

        record = self.measure(lambda: self.repeat(begin, 250), 1000)
        if wrong:
            raise RuntimeError(f"{wrong} connections were not admitted")
        return record

    def polling_echo(self) -> Record:
        """Measure echoes over long-polling: one POST with the event, one GET with its answer."""
        ready: list[Polling] = []
        for token in tokens(TALKERS):
            Polling(self.swarm, token, lambda session, outcome: ready.append(session) if outcome else None)
        self.swarm.until(lambda: len(ready) == TALKERS)
        said = b'420["message",{"ack":true,"text":"hello world"}]'

        def batch(each: int = 20) -> int:
            done = 0

            def posted(caller: Caller, body: bytes) -> None:
                ready_by_caller[caller].get(polled)

            def polled(caller: Caller, body: bytes) -> None:
                nonlocal done
                session = ready_by_caller[caller]
                if b"43" not in body:  # it was a heartbeat
                    if not body:
                        raise ConnectionError("a poll failed")
                    session.get(polled)
                    return
                done += 1
                session.done += 1
                if session.done < each:
                    session.post(said, posted)

            ready_by_caller = {session.caller: session for session in ready}
            for session in ready:
                session.done = 0
                session.post(said, posted)
            self.swarm.until(lambda: done == each * TALKERS)
            return done

        return self.measure(batch, 5000)

    # checks

    def probe(self) -> None:
        """Check that the server works: a token admitted, a token refused, an echo, a broadcast."""
        for words, expected in ((self.good[0], True), (self.bad[0], False)):
            outcomes: list[bool] = []
            Client(self.swarm, words, lambda client, outcome, outcomes=outcomes: outcomes.append(outcome))
            self.swarm.until(lambda outcomes=outcomes: bool(outcomes))
            self.swarm.close()
            if outcomes != [expected]:
                raise RuntimeError(f"a {'good' if expected else 'bad'} token was decided as {outcomes[0]}")
        packets: list[bytes] = []
        ada, bob = self.connect(2)
        for client in (ada, bob):
            client.arrived = lambda client, number, packet: packets.append(packet)
        ada.send(frame(b'427["message",{"ack":true,"text":"\xc3\xa9"}]', TEXT))
        self.swarm.until(lambda: len(packets) == 1)
        ada.send(frame(b"42" + SAY))
        self.swarm.until(lambda: len(packets) == 3)
        if json.loads(packets[0].removeprefix(b"437")) != [{"ack": True, "text": "é"}]:
            raise RuntimeError(f"the echo was {packets[0]!r}")
        if any(packet != b"42" + SAY for packet in packets[1:]):
            raise RuntimeError(f"the broadcast was {packets[1]!r}")
        self.part()


def percentiles(taken: list[float], name: str) -> Record:
    """Convert seconds to milliseconds."""
    cuts = statistics.quantiles(taken, n=100)
    return {f"p{n}_{name}": cuts[n - 1] * 1e3 for n in (50, 90, 99)}


# Memory first, while the process is young; the rest in the order of the report.
OPERATIONS: dict[str, Callable[[Load], Record]] = {
    "memory": Load.memory,
    "connect": Load.admitted,
    "refused": Load.refused,
    "echo": Load.echo,
    "deliver": Load.deliver,
    "deliver_one": Load.deliver_one,
    "binary": Load.binary,
    "latency": Load.latency,
    "polling": Load.polling,
    "polling_echo": Load.polling_echo,
}


def main() -> int:
    parser = argparse.ArgumentParser(description="Load one server and report what it used.")
    parser.add_argument("port", type=int)
    parser.add_argument("pid", type=int)
    parser.add_argument("--seconds", type=float, default=1.2, help="the server's processor time per operation")
    parser.add_argument(
        "--warmth", type=float, default=1.0, help="factor for the number of operations before measuring"
    )
    parser.add_argument("--only", help="names of operations, separated by commas")
    options = parser.parse_args()
    servers.allow_connections()
    gc.disable()  # the collector would pause for longer than a request takes
    load = Load(options.port, options.pid, options.seconds, options.warmth)
    load.probe()
    results: dict[str, Record | dict[str, str]] = {}
    for name in options.only.split(",") if options.only else OPERATIONS:
        try:
            results[name] = OPERATIONS[name](load)
        except (OSError, RuntimeError) as error:
            results[name] = {"error": str(error)}
        load.part()
    print(json.dumps(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
