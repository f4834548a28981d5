"""A node: one process of a cluster, which sends signed messages over the bus and knows which others are alive."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import Counter
from collections.abc import Callable, Mapping
from math import inf
from typing import Any

from roomkey.bus.answering import Answerer, Answering
from roomkey.bus.leases import HEARTBEAT_SECONDS, Hello, Leases, NodeInfo
from roomkey.bus.messages import Checker, Dropped, Message, Signer, node_id
from roomkey.bus.partitions import Channels
from roomkey.bus.protocol import Bus, Clock
from roomkey.bus.questions import Answers, Questions, question_body
from roomkey.bus.secrets import ClusterSecrets

__all__ = ["Answers", "Node", "NodeInfo"]

LOG = logging.getLogger("roomkey.bus")

Handler = Callable[[str, bytes], object]

RELEASE_SECONDS = 60.0
"""How long a subscription stays after the last room of its partition is empty: rooms come and go."""

SETTLE_SECONDS = 1.0
"""How long after it connects a node assumes that it may not know all others."""

STALL_SECONDS = 3.0
"""A node that did not look at its deadlines for so long was stopped or busy. It did not hear the others then."""

LONGEST_SLEEP = 1.0

BAD_SIGNATURE = "bad signature"
WARNING_SECONDS = 60.0
"""Warnings about invalid signatures come no more often than this."""


class Node:
    """One participant: signs what it sends, checks what it receives, knows which nodes are alive, and asks them.

    Args:
        bus: what carries the messages. It belongs to this node.
        secrets: the secrets of the cluster.
        clock: where to read the time.
        address: where this node accepts peer links, for the other nodes.
        prefix: what the names of the channels begin with.

    Attributes:
        id: the name of the node, which is new at each start: 8 characters.
        secrets: the secrets of the cluster, for keys that all nodes have.
        info: what the parts of this node tell the others about themselves, such as the number of sockets: JSON. Every
            heartbeat has it, so keep it short.
        counts: what happened: ``sent``, ``received``, ``own``, ``failed``, and what was dropped:
            ``dropped: too large``, ``dropped: malformed``, ``dropped: bad signature``, ``dropped: stale``,
            ``dropped: replayed``, ``dropped: too many senders``, ``dropped: unknown kind``, ``dropped: busy``.
        on_state: called with True when the bus is connected, and with False when messages may be lost.
        on_heartbeat: called with the monotonic time before a heartbeat to all nodes, so that ``info`` can be renewed.
        on_joined: called with the name of a node when it gets a lease.
        on_left: called with the name of a node when it says goodbye, or when its lease is over.
    """

    def __init__(
        self, bus: Bus, secrets: ClusterSecrets, clock: Clock, *, address: str | None = None, prefix: str = "roomkey"
    ) -> None:
        sender = os.urandom(6)
        self.id = node_id(sender)
        self.address = address
        self.secrets = secrets
        self.info: dict[str, Any] = {}
        self.counts: Counter[str] = Counter()
        self.on_state: list[Callable[[bool], object]] = []
        self.on_heartbeat: list[Callable[[float], object]] = []
        self.on_joined: list[Callable[[str], object]] = []
        self.on_left: list[Callable[[str], object]] = []
        self.bus = bus
        self.channels = Channels(prefix)
        self._clock = clock
        self._signer = Signer(secrets, sender)
        self._checker = Checker(secrets, sender, bus.max_payload, clock.now())
        self._leases = Leases()
        self._questions = Questions()
        self._own_channel = self.channels.of_node(self.id)
        self._handlers: dict[str, Handler] = {"hello": self._hello, "bye": self._bye, "=": self._answered}
        self._answering = Answering(lambda node, body: self.tell("=", body, to=node), self.counts)
        self._needed: Counter[int] = Counter()
        self._releases: dict[int, float] = {}
        self._next_warning = 0.0
        self._connected_at = inf
        self._next_heartbeat = inf
        self._checked_at = inf
        self._handle: asyncio.TimerHandle | None = None
        self._wakes_at = inf
        self._closed = False

    # State

    @property
    def connected(self) -> bool:
        """Return True while the bus is connected."""
        return self.bus.connected

    @property
    def settled(self) -> bool:
        """Return True if the bus has been connected for so long that this node knows the others."""
        return self.connected and self._clock.monotonic() >= self._connected_at + SETTLE_SECONDS

    @property
    def live(self) -> Mapping[str, NodeInfo]:
        """Return the other nodes that are alive."""
        return self._leases.live

    def alone(self) -> bool:
        """Return True if no other node is known to be alive. While the bus is away, there may be others."""
        return not self._leases.live

    async def open(self) -> None:
        """Connect. Return when connected, and after 1 s in any case; go on trying in the background."""
        self._checked_at = self._clock.monotonic()
        for channel in (self.channels.everybody, self._own_channel):
            self._subscribe(channel)
        self._wake_at(self._checked_at + LONGEST_SLEEP)
        await self.bus.open(self._arrived, self._state)

    async def close(self) -> None:
        """Say goodbye, so that the others end the lease now, and disconnect."""
        if self._closed:
            return
        self.tell("bye", b"")
        self._closed = True
        if self._handle is not None:
            self._handle.cancel()
        self._questions.give_up()
        self._answering.close()
        await self.bus.close()
        self._leases.live.clear()

    # One-way messages

    def on(self, kind: str, handler: Handler) -> None:
        """Handle the messages of a kind.

        Args:
            kind: the kind, such as ``emit``: ASCII letters.
            handler: called with the name of the sender and the body. It must not wait.

        Raises:
            ValueError: the kind already has a handler.
        """
        _register(self._handlers, kind, handler)

    def tell(self, kind: str, body: bytes, *, to: str | None = None, partition: int | None = None) -> None:
        """Send a message: to one node, to the nodes that need a partition, or to all. This node does not receive it.

        It never waits. While the bus is away, the message is dropped and counted.

        Args:
            kind: the kind.
            body: the content.
            to: the name of a node.
            partition: the number of a partition, from 0 to 127.

        Raises:
            ValueError: the message is larger than the bus permits.
        """
        if self._closed:
            return
        if to is not None:
            channel = self.channels.of_node(to)
        elif partition is not None:
            channel = self.channels.partitions[partition]
        else:
            channel = self.channels.everybody
        self.bus.publish(channel, self._signer.sign(channel, kind, body, self._clock.now()))
        self.counts["sent"] += 1

    # Questions

    def answer(self, kind: str, handler: Answerer) -> None:
        """Answer the questions of a kind.

        Args:
            kind: the kind.
            handler: called with the name of the asking node and the body. It returns the answer, or an awaitable of it.
                If it raises, the asking node counts this one as missing.

        Raises:
            ValueError: the kind already has a handler.
        """
        _register(self._answering.handlers, kind, handler)

    async def ask(self, kind: str, body: bytes, *, to: str | None = None, seconds: float = 1.0) -> Answers:
        """Ask one node, or all others that are alive.

        Args:
            kind: the kind.
            body: the question.
            to: the name of a node.
            seconds: how long to wait. It ends earlier when all have answered, and when the bus is away.

        Raises:
            ValueError: the message is larger than the bus permits.
        """
        nodes = frozenset(self.live if to is None else (to,))
        asked = nodes & self.live.keys()
        settled = self.settled
        if not asked or not self.connected or self._closed:
            return Answers({}, nodes, settled and not nodes)
        question = self._questions.ask(asked, self._clock.monotonic() + seconds)
        try:
            self.tell(f"?{kind}", question_body(question, body), to=to)
            self._wake_at(question.until)
            await question.done.wait()
        finally:
            self._questions.close(question)
        return question.answers(connected=settled and self.connected)

    def _answered(self, sender: str, body: bytes) -> None:
        self._questions.answered(sender, body)

    # Partitions

    def need(self, partition: int) -> None:
        """Receive the messages of a partition, until :meth:`release` is called as often."""
        self._needed[partition] += 1
        if self._needed[partition] == 1 and self._releases.pop(partition, None) is None:
            self._subscribe(self.channels.partitions[partition])

    def release(self, partition: int) -> None:
        """Do not need a partition any more. After a minute, its messages do not arrive any more."""
        if self._needed[partition] < 1:
            raise ValueError(f"partition {partition} is released more often than needed")
        self._needed[partition] -= 1
        if not self._needed[partition]:
            del self._needed[partition]
            self._releases[partition] = self._clock.monotonic() + RELEASE_SECONDS

    async def ready(self, partition: int) -> bool:
        """Wait until the messages of a needed partition arrive, for 1 s at most; return False if they do not."""
        return await self.bus.subscribed(self.channels.partitions[partition])

    def _subscribe(self, channel: str) -> None:
        self._checker.opened(channel)
        self.bus.subscribe(channel)

    # What arrives

    def _arrived(self, channel: str, payload: bytes) -> None:
        try:
            message = self._checker.check(channel, payload, self._clock.now(), self._clock.monotonic())
        except Dropped as reason:
            self.counts[f"dropped: {reason}"] += 1
            self._warn(str(reason))
            return
        if message is None:
            self.counts["own"] += 1
            return
        self.counts["received"] += 1
        self._handle_message(message)

    def _warn(self, reason: str) -> None:
        """Log that signatures are not valid: the cause is probably a mistake in the settings."""
        now = self._clock.monotonic()
        if reason == BAD_SIGNATURE and now >= self._next_warning:
            self._next_warning = now + WARNING_SECONDS
            LOG.warning(
                "dropped %d message(s) with an invalid signature; give all nodes the same secrets, and other clusters "
                "on this bus another name",
                self.counts[f"dropped: {reason}"],
            )

    def _handle_message(self, message: Message) -> None:
        sender, kind, body = message
        if kind[0] == "?":
            self._answering.asked(sender, kind[1:], body)
            return
        handler = self._handlers.get(kind)
        if handler is None:
            self.counts["dropped: unknown kind"] += 1
            return
        try:
            handler(sender, body)
        except Exception:  # the bus calls this, and goes on with the next message
            self._handler_failed(kind)

    def _handler_failed(self, kind: str) -> None:
        self.counts["failed"] += 1
        LOG.exception("could not handle a message of another node of the kind %r", kind)

    def _state(self, connected: bool) -> None:
        if connected:
            self._connected_at = self._clock.monotonic()
            for channel in (self.channels.everybody, self._own_channel, *self._partition_channels()):
                self._checker.opened(channel)
            self._heartbeat(reply=True)
        else:
            self._questions.give_up()
        _call(self.on_state, connected)

    def _partition_channels(self) -> list[str]:
        return [self.channels.partitions[number] for number in (*self._needed, *self._releases)]

    # Leases

    def _heartbeat(self, *, reply: bool = False, to: str | None = None) -> None:
        if to is None:
            now = self._clock.monotonic()
            self._next_heartbeat = now + HEARTBEAT_SECONDS
            _call(self.on_heartbeat, now)
        try:
            body = Hello(self.address, self.info, reply).encode()
        except (TypeError, ValueError) as error:  # the node is alive all the same
            LOG.error("could not tell the other nodes about this one: %s", error)
            body = Hello(self.address, {}, reply).encode()
        self.tell("hello", body, to=to)

    def _hello(self, sender: str, body: bytes) -> None:
        try:
            hello = Hello.decode(body)
        except ValueError:
            self.counts["dropped: malformed"] += 1
            return
        is_new = self._leases.extend(sender, hello, self._clock.monotonic())
        if is_new or hello.reply:
            self._heartbeat(to=sender)
        if is_new:
            _call(self.on_joined, sender)

    def _bye(self, sender: str, body: bytes) -> None:
        self._left(sender)

    def _left(self, node: str) -> None:
        if self._leases.end(node):
            self._questions.left(node)
            _call(self.on_left, node)

    # Deadlines

    def check_deadlines(self) -> None:
        """Act on the deadlines that have passed: heartbeats, leases, questions, and subscriptions without need."""
        if self._closed:
            return
        now = self._clock.monotonic()
        if now - self._checked_at > STALL_SECONDS:
            self._leases.excuse(now)
        self._checked_at = now
        if self.connected and self._next_heartbeat <= now:
            self._heartbeat()
            self._checker.forget(now)
        for node in self._leases.expired(now):
            self._left(node)
        self._questions.expire(now)
        for partition in [number for number, when in self._releases.items() if when <= now]:
            del self._releases[partition]
            channel = self.channels.partitions[partition]
            self.bus.unsubscribe(channel)
            self._checker.closed(channel)

    def _wake_at(self, when: float) -> None:
        """Look at the deadlines no later than at this time."""
        if when >= self._wakes_at:
            return
        if self._handle is not None:
            self._handle.cancel()
        self._wakes_at = when
        delay = max(when - self._clock.monotonic(), 0.0)
        self._handle = asyncio.get_running_loop().call_later(delay, self._fire)

    def _fire(self) -> None:
        self._handle, self._wakes_at = None, inf
        self.check_deadlines()
        if not self._closed:
            soon = self._clock.monotonic() + LONGEST_SLEEP
            self._wake_at(min(soon, self._questions.next() or inf))


def _register(handlers: dict[str, Any], kind: str, handler: Callable[..., object]) -> None:
    if not (kind.isascii() and kind[:1].isalpha() and len(kind) < 32):
        raise ValueError(f"invalid kind of message {kind!r}; use up to 31 ASCII characters, beginning with a letter")
    if kind in handlers:
        raise ValueError(f"messages of the kind {kind!r} already have a handler")
    handlers[kind] = handler


def _call(callbacks: list[Callable[[Any], object]], argument: object) -> None:
    for callback in list(callbacks):
        try:
            callback(argument)
        except Exception:  # the others are called all the same
            LOG.exception("could not handle a change of the cluster")
