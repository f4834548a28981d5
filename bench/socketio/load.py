"""The operations on one server, and the measure of what the server spends on each.

run.py and growth.py hold one :class:`Load` for each server, and let the servers take turns.
"""

from __future__ import annotations

import gc
import itertools
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import cycle

import jwt
import servers
from meter import RESOLUTION, Meter
from polling import Polling
from wire import BINARY, TEXT, Caller, Client, Swarm, frame

AT_ONCE = 64  # connects in flight
TALKERS = 50  # connections that request echoes, each with one request in flight
AUDIENCE = 1000  # receivers of a broadcast
IN_FLIGHT = 4  # broadcasts
IDLE = 3000  # connections that do nothing
PACE = 1000  # echoes per second for the latency
BLOB = bytes(range(256)) * 4

WARM_SECONDS = 0.15  # the server's time between two looks at whether it is still getting faster
WARM_LOOKS = 4  # without an improvement, before it is warm
WARM_BY = 0.97  # of the least cost so far is an improvement

SAY = b'["message",{"text":"hello world","from":"user"}]'
Record = dict[str, float]


@dataclass
class Operation:
    """An operation that is prepared on one server.

    Attributes:
        batch: does it some times, and returns how often.
        least: how often to do it at least before it is measured.
        found: what it measures itself since the last call.
        once: one batch is one sample, however little the server spends.
    """

    batch: Callable[[], int]
    least: int
    found: Callable[[], Record] = field(default=dict)
    once: bool = False


def tokens(count: int, **claims: object) -> list[str]:
    now = int(time.time())
    usual = {"role": "member", "rooms": ["a", "b"], "iat": now, "exp": now + 7200}
    return [
        jwt.encode({"sub": f"user-{n}", "name": f"User {n}", **usual, **claims}, servers.SECRET, algorithm="HS256")
        for n in range(count)
    ]


def hello(token: str) -> bytes:
    return frame(b'40{"token":"%s"}' % token.encode())


class Load:
    """The operations on one server.

    Args:
        port: the server's.
        pid: the server's.
        meanwhile: called again and again while this server is measured, to answer the heartbeats of the others.
    """

    def __init__(self, port: int, pid: int, meanwhile: Callable[[], None] = lambda: None) -> None:
        self.swarm, self.meter = Swarm(port), Meter(pid)
        self._meanwhile = meanwhile
        signed = tokens(1000)
        self.good = [hello(token) for token in signed]
        self.bad = [hello(token[:-6] + "AAAAAA") for token in signed]

    # measuring

    def warm(self, operation: Operation, limit: float) -> None:
        """Repeat an operation until the server stops getting faster, or has spent ``limit`` seconds."""
        if operation.once:
            operation.batch()
            operation.found()
            return
        costs: list[float] = []
        done, begun = 0, self.meter.cpu()
        while self.meter.cpu() - begun < limit:
            sample = self._repeat(operation, max(WARM_SECONDS, 10 * RESOLUTION))
            done += int(sample["operations"])
            costs.append(sample["cpu_us"])
            is_flat = len(costs) > WARM_LOOKS and min(costs[-WARM_LOOKS:]) > WARM_BY * min(costs[:-WARM_LOOKS])
            if is_flat and done >= operation.least:
                break
        operation.found()

    def sample(self, operation: Operation, seconds: float) -> Record:
        """Return the server's cost per operation, from as many as take it ``seconds`` of processor time."""
        self.meter.settle(self.swarm.idle)
        gc.collect()
        return self._repeat(operation, max(seconds, 50 * RESOLUTION), settle=True) | operation.found()

    def _repeat(self, operation: Operation, seconds: float, *, settle: bool = False) -> Record:
        before, own, start, done = self.meter.cpu(), time.process_time(), time.monotonic(), 0
        while True:
            done += operation.batch()
            self._meanwhile()
            elapsed, used = time.monotonic() - start, self.meter.cpu() - before
            if operation.once or used >= seconds or elapsed > 10 * seconds + 5:
                break
        own = time.process_time() - own
        total = self.meter.settle(self.swarm.idle) - before if settle else used
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

    def come_and_go(self, hellos: list[bytes], expected: bool) -> Operation:
        """Measure connections that end as soon as the server has decided about their token."""
        supply = cycle(hellos)

        def begin(ended: Callable[[], None]) -> None:
            def settled(client: Client, outcome: bool) -> None:
                client.close()
                if outcome is not expected:
                    raise RuntimeError("a token was not decided as expected")
                ended()

            Client(self.swarm, next(supply), settled)

        return Operation(lambda: self.repeat(begin, 250), 3000)

    def admitted(self) -> Operation:
        return self.come_and_go(self.good, True)

    def refused(self) -> Operation:
        return self.come_and_go(self.bad, False)

    def echo(self, requests: list[bytes] | None = None, clients: list[Client] | None = None) -> Operation:
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

        return Operation(batch, 20_000)

    def binary(self) -> Operation:
        """Measure echoes with an attachment of 1 KiB in both directions."""
        said = b'["message",{"ack":true,"data":{"_placeholder":true,"num":0}}]'
        return self.echo([frame(b"451-%d%s" % (n, said)) + frame(BLOB, BINARY) for n in range(50)])

    def spread(
        self, clients: list[Client], in_flight: int, event: bytes = b"42" + SAY, *, senders: int = 1
    ) -> Operation:
        """Measure an event to all of these clients, per receiver. The first ones send it in turns."""
        first, audience, said = clients[0], len(clients), frame(event)
        turns = itertools.cycle(clients[:senders])
        self.swarm.expect(b"42" + SAY)
        rounds = max(4, 12_000 // audience)
        taken: list[float] = []

        def some() -> int:
            sent = 0

            def pump(client: Client, number: int, packet: bytes) -> None:
                nonlocal sent
                for _ in range(min(number, rounds - sent)):
                    sent += 1
                    next(turns).send(said)

            goal = self.swarm.received + rounds * audience
            first.arrived = pump
            pump(first, in_flight, b"")
            self.swarm.until(lambda: self.swarm.received == goal)
            first.arrived = None
            return rounds * audience

        def one() -> int:
            goal = self.swarm.received
            for _ in range(rounds):
                goal += audience
                start = time.perf_counter()
                next(turns).send(said)
                self.swarm.until(lambda goal=goal: self.swarm.received == goal)
                taken.append(time.perf_counter() - start)
            return rounds * audience

        def found() -> Record:
            if len({client.received for client in clients}) > 1:
                raise RuntimeError("some clients received more of the broadcasts than others")
            record = percentiles(taken, "last_ms") if len(taken) > 1 else {}
            taken.clear()
            return record

        for client in clients:
            client.received = 0
        return Operation(some if in_flight > 1 else one, 30_000, found)

    def deliver(self) -> Operation:
        return self.spread(self.connect(AUDIENCE), IN_FLIGHT)

    def deliver_one(self) -> Operation:
        return self.spread(self.connect(AUDIENCE), 1)

    def memory(self) -> Record:
        """Measure the resident memory of idle connections, in addition to a thousand existing ones."""
        self.connect(1000)
        self.meter.settle(self.swarm.idle)
        before = self.meter.memory()
        self.connect(IDLE)
        self.meter.settle(self.swarm.idle)
        record = {"kb": (self.meter.memory() - before) / IDLE, "operations": IDLE}
        self.part()
        return record

    def latency(self) -> Operation:
        """Measure echoes at a fixed pace, even if the server is slower; from the planned time to the answer."""
        clients = self.connect(TALKERS)
        due, taken = [0.0] * PACE, []

        def answered(client: Client, number: int, packet: bytes) -> None:
            taken.append(time.perf_counter() - due[int(packet[2 : packet.index(b"[")])])

        for client in clients:
            client.arrived = answered

        def batch() -> int:
            taken.clear()
            start = time.perf_counter() + 0.01
            for n in range(PACE):
                due[n] = start + n / PACE
                while time.perf_counter() < due[n]:
                    self.swarm.step(0)
                clients[n % TALKERS].send(frame(b'42%d["message",{"ack":true,"text":"hello"}]' % n))
            self.swarm.until(lambda: len(taken) == PACE)
            return PACE

        return Operation(batch, PACE, lambda: percentiles(taken[PACE // 5 :], "ms"), once=True)

    def polling(self) -> Operation:
        """Measure connects over long-polling: open, token, answer, close; four requests on one connection."""
        supply = cycle(tokens(1000))

        def begin(ended: Callable[[], None]) -> None:
            def admitted(session: Polling, outcome: bool) -> None:
                if not outcome:
                    raise RuntimeError("a connection was not admitted")
                session.post(b"1", left)

            def left(caller: Caller, body: bytes) -> None:
                caller.close()
                ended()

            Polling(self.swarm, next(supply), admitted)

        return Operation(lambda: self.repeat(begin, 250), 1500)

    def polling_echo(self) -> Operation:
        """Measure echoes over long-polling: a GET that waits, and a POST with the event, which that GET answers."""
        ready: list[Polling] = []
        for token in tokens(TALKERS):
            Polling(self.swarm, token, lambda session, outcome: ready.append(session) if outcome else None)
        self.swarm.until(lambda: len(ready) == TALKERS)
        for session in ready:
            session.poll()

        def batch() -> int:
            goal = self.swarm.received + 20 * TALKERS
            for session in ready:
                session.echo(20)
            self.swarm.until(lambda: self.swarm.received == goal)
            return 20 * TALKERS

        return Operation(batch, 5000)

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


# In the order of the report.
OPERATIONS: dict[str, Callable[[Load], Operation]] = {
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
MEMORY = "memory"
"""What is measured once, while the servers are young."""
