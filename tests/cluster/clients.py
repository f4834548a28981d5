"""Socket.IO clients as bytes, thousands in one process, which count what they receive and what they must not."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from contextlib import suppress
from typing import Any

from support.cluster_process import ISSUER
from support.rawsocket import frame, upgrade

__all__ = ["ANSWER_SECONDS", "Client", "Ledger"]

ANSWER_SECONDS = 15.0
"""How long a client waits for an answer before the test counts it as forgotten."""


class Ledger:
    """What all clients together have seen.

    Attributes:
        counts: deliveries and outcomes; and violations, which must stay 0: ``foreign room``, ``repeated``,
            ``forgotten``, ``revoked and admitted``.
        slowest: the longest time from the TCP connection to the decision, in seconds.
        revoked: subjects that were revoked, and when, in seconds of the monotonic clock.
        closed: how long the sockets of a subject lived on.
    """

    VIOLATIONS = ("foreign room", "repeated", "forgotten", "revoked and admitted")

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.slowest = 0.0
        self.revoked: dict[str, float] = {}
        self.closed: dict[str, float] = {}

    def violations(self) -> dict[str, int]:
        return {name: self.counts[name] for name in self.VIOLATIONS if self.counts[name]}


class Client(asyncio.Protocol):
    """A client over WebSocket: ``connect`` is answered by ``admitted``, a refusal, or the end of the connection.

    Args:
        ledger: where it counts.
        subject: of its token.
        rooms: that its token names; it asks for each, and for one that it may not join.
    """

    def __init__(self, ledger: Ledger, subject: str, rooms: list[str], token: str = "") -> None:
        self.ledger, self.subject, self.rooms = ledger, subject, rooms
        self.token = token or ISSUER.issue(subject, rooms=rooms)
        self.port = 0
        self.admitted = False
        self.outcome = ""
        self.heard: dict[tuple[str, str], int] = {}
        self._heard_more = asyncio.Event()
        self._transport: asyncio.Transport | None = None
        self._rest = b""
        self._upgraded = False
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._decided: asyncio.Future[str] | None = None
        self.closed = asyncio.Event()

    async def connect(self, port: int) -> str:
        """Connect. Return ``admitted``, the code of the refusal, ``closed``, or ``forgotten`` if no answer comes."""
        if self._transport is not None:
            self.close()
            await self.closed.wait()
        begun, loop = time.monotonic(), asyncio.get_running_loop()
        self.port, self._upgraded, self._rest, self.admitted = port, False, b"", False
        self._decided = loop.create_future()
        self.closed.clear()
        self.heard.clear()
        try:
            await loop.create_connection(lambda: self, "127.0.0.1", port)
            async with asyncio.timeout(ANSWER_SECONDS):
                self.outcome = await self._decided
        except TimeoutError:
            self.ledger.counts["forgotten"] += 1
            self.outcome = "forgotten"
            self.close()
        except OSError:
            self.outcome = "closed"
        took = time.monotonic() - begun
        self.ledger.slowest = max(self.ledger.slowest, took)
        self.ledger.counts[self.outcome] += 1
        if self.outcome == "admitted" and self.subject in self.ledger.revoked:
            self.ledger.counts["revoked and admitted"] += 1
        return self.outcome

    async def join(self) -> None:
        """Join its rooms, and try one that it may not join."""
        answers = await asyncio.gather(*(self.call("join-room", room) for room in [*self.rooms, "forbidden"]))
        assert answers[-1] is None or answers[-1]["ok"] is False, answers[-1]
        for answer in answers[:-1]:
            assert answer is None or answer["ok"] is True, answer

    async def enter(self, port: int, seconds: float = 60.0, pause: float = 0.1) -> None:
        """Connect and join, and try again until that works: first after so many seconds, later after up to 5 times."""
        end, longest = time.monotonic() + seconds, 5 * pause
        while await self.connect(port) != "admitted":
            assert time.monotonic() < end, f"not admitted within {seconds} s: {self.outcome}"
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))
            pause = min(longest, pause * 2)
        await self.join()

    async def call(self, event: str, *arguments: Any) -> Any:
        """Emit an event and return its acknowledgement; None if the connection ends first."""
        number = len(self._answers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        self._send(f"42{number}" + json.dumps([event, *arguments]))
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await answer
        except TimeoutError:
            self.ledger.counts["forgotten"] += 1
            return None

    async def hears(self, source: tuple[str, str], number: int, seconds: float = 1.0) -> bool:
        """Wait for an emit of a node to a room. Return False if it does not arrive."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.heard.get(source, 0) < number:
                    self._heard_more.clear()
                    await self._heard_more.wait()
                return True
        return False

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _send(self, packet: str) -> None:
        if self._transport is not None:
            self._transport.write(frame(packet))

    # asyncio.Protocol

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        transport.write(upgrade(f"127.0.0.1:{self.port}"))

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        if not self._upgraded:
            _head, end, data = data.partition(b"\r\n\r\n")
            if not end:
                self._rest = _head
                return
            self._upgraded = True
        while (size := _size(data)) is not None:
            start, length = size
            opcode, payload, data = data[0] & 15, data[start : start + length], data[start + length :]
            if opcode == 1:
                self._packet(payload)
        self._rest = data

    def _packet(self, packet: bytes) -> None:
        if packet == b"2":
            self._send("3")
        elif packet[:1] == b"0":
            self._send("40" + json.dumps({"token": self.token}))
        elif packet[:2] == b"40":
            self.admitted = True
            self._decide("admitted")
        elif packet[:2] == b"44":
            self._decide(json.loads(packet[2:]).get("data", {}).get("code", "refused"))
        elif packet[:2] == b"42":
            name, *arguments = json.loads(packet[2:])
            if name == "said":
                self._said(arguments[0])
            else:
                self.ledger.counts[name] += 1
        elif packet[:2] == b"43":
            number, _, rest = packet[2:].partition(b"[")
            if not (answer := self._answers[int(number)]).done():
                answer.set_result(json.loads(b"[" + rest)[0])

    def _said(self, said: dict[str, Any]) -> None:
        source = (said["from"], said["room"])
        self.ledger.counts["deliveries"] += 1
        if said["room"] not in self.rooms:
            self.ledger.counts["foreign room"] += 1
        if said["n"] <= self.heard.get(source, 0):
            self.ledger.counts["repeated"] += 1
        self.heard[source] = said["n"]
        self._heard_more.set()

    def _decide(self, outcome: str) -> None:
        if self._decided is not None and not self._decided.done():
            self._decided.set_result(outcome)

    def connection_lost(self, error: Exception | None) -> None:
        self._decide("closed")
        self._transport = None
        if self.admitted and (since := self.ledger.revoked.get(self.subject)) is not None:
            self.ledger.closed.setdefault(self.subject, time.monotonic() - since)
        self.admitted = False
        for answer in self._answers.values():
            if not answer.done():
                answer.set_result(None)
        self._answers.clear()
        self.closed.set()


def _size(data: bytes) -> tuple[int, int] | None:
    """Return where the payload of the first frame starts, and its length. None if the frame is not complete."""
    if len(data) < 2:
        return None
    start, length = 2, data[1]
    if length in (126, 127):
        start = 4 if length == 126 else 10
        length = int.from_bytes(data[2:start])
    return (start, length) if len(data) >= start + length else None
