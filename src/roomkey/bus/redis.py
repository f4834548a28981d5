"""A bus on Redis or Valkey: one server, or a cluster with sharded publish and subscribe."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections import Counter
from collections.abc import Callable

from roomkey import audit
from roomkey.bus.changes import Changes
from roomkey.bus.protocol import MAX_PAYLOAD, OnPayload, OnState
from roomkey.bus.redis_checks import Facts, facts_of, findings, unsuitable
from roomkey.bus.redis_connections import (
    CONNECT_SECONDS,
    AbstractConnection,
    Connections,
    RedisError,
    UnsuitableServer,
    call,
    hint,
    pack,
    reason,
)
from roomkey.bus.redis_links import CLASSIC, SHARDED, TICK_SECONDS, TICKS, Publisher, Subscriber, Verbs
from roomkey.bus.redis_servers import Server, servers_of, slot_of
from roomkey.errors import ConfigError

__all__ = ["RedisBus"]

LOG = logging.getLogger("roomkey.bus")

FIRST_DELAY, LONGEST_DELAY = 0.1, 2.0
"""Seconds between attempts to connect: half of it and a random part of the other half."""

STABLE_SECONDS = 5.0
"""How long a connection must last, so that the next attempt after it is soon."""

OPEN_SECONDS = 1.0
CLOSE_SECONDS = 1.0

QUEUE_BYTES = 16 * 1024 * 1024

_LinkOf = Callable[[bytes], "_Link"]


class _Link:
    """The connections to one server."""

    def __init__(self, publisher: Publisher, subscriber: Subscriber, verbs: Verbs) -> None:
        self.publisher, self.subscriber = publisher, subscriber
        self.publish = b"*3\r\n$%d\r\n%s\r\n$" % (len(verbs.publish), verbs.publish)

    def tick(self) -> None:
        self.publisher.progress.tick()
        self.subscriber.progress.tick()

    def probe(self) -> None:
        self.publisher.probe()
        self.subscriber.probe()


class RedisBus:
    """Carries messages through Redis 6.2 or later, or Valkey. A Redis cluster requires Redis 7.0 or Valkey.

    The bus has two connections to each server: one publishes, and one receives. If a server does not respond or refuses
    writes, the bus disconnects from all servers and connects again.

    Args:
        url: ``redis://``, ``rediss://`` (TLS) or ``unix://``, with user name and password if needed, and options of
            redis-py such as ``?ssl_ca_certs=ca.pem``. For a Redis cluster, ``redis+cluster://`` or
            ``rediss+cluster://`` with the address of any of its servers.
        max_payload: the largest message in bytes.
        queue: the most bytes that wait to be sent. The bus drops and counts further messages.
        probe_key: a key that the bus writes once per second, to notice that the server refuses writes. Set it if the
            server also has the journal. By default, the bus only sends PING.

    Raises:
        ConfigError: the URL is not valid.
    """

    def __init__(
        self, url: str, *, max_payload: int = MAX_PAYLOAD, queue: int = QUEUE_BYTES, probe_key: str | None = None
    ) -> None:
        self.max_payload = max_payload
        self.counts: Counter[str] = Counter()
        self._connections = Connections(url, name="roomkey-bus")
        self._queue = queue
        self._probe_key = probe_key
        self._channels: dict[bytes, str] = {}
        self._links: list[_Link] = []
        self._link_of: _LinkOf | None = None
        self._connected = False
        self._available = True  # what the log says
        self._examined = False
        self._unsuitable: str | None = None
        self._changes = Changes()
        self._on_payload: OnPayload = lambda channel, payload: None
        self._on_state: OnState = lambda connected: None
        self._running: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"RedisBus(connected={self._connected})"

    @property
    def connected(self) -> bool:
        """Return True while messages can be sent and received."""
        return self._connected

    @property
    def connections(self) -> Connections:
        """What opens connections to its servers."""
        return self._connections

    # Messages

    def publish(self, channel: str, payload: bytes) -> None:
        """Queue a message, which is sent in this turn of the event loop; see :meth:`Bus.publish`."""
        size = len(payload)
        if size > self.max_payload:
            raise ValueError(f"a message of {size} bytes is larger than max_payload, {self.max_payload}")
        if not self._connected or self._link_of is None:
            self.counts["dropped: not connected"] += 1
            return
        name = channel.encode()
        link = self._link_of(name)
        command = b"%s%d\r\n%s\r\n$%d\r\n%s\r\n" % (link.publish, len(name), name, size, payload)
        if link.publisher.put(command):
            self.counts["published"] += 1
        else:
            self.counts["dropped: queue full"] += 1

    def _received(self, channel: bytes, payload: bytes) -> None:
        name = self._channels.get(channel)
        if name is None:  # unsubscribed meanwhile
            return
        if len(payload) > self.max_payload:
            self.counts["dropped: too large"] += 1
            return
        self.counts["received"] += 1
        try:
            self._on_payload(name, payload)
        except Exception:  # the connection goes on with the next message
            LOG.exception("could not handle a message")

    # Subscriptions

    def subscribe(self, channel: str) -> None:
        """Receive the messages of a channel, also after reconnects."""
        name = channel.encode()
        if name not in self._channels:
            self._channels[name] = channel
            if self._link_of is not None:
                self._link_of(name).subscriber.subscribe([name])

    def unsubscribe(self, channel: str) -> None:
        """Do not receive the messages of a channel any more."""
        name = channel.encode()
        if self._channels.pop(name, None) is not None and self._link_of is not None:
            self._link_of(name).subscriber.unsubscribe([name])

    async def subscribed(self, channel: str) -> bool:
        """Wait until a subscription is in effect, for 1 s at most; return False if it is not."""
        name = channel.encode()
        await self._changes.until(lambda: self._is_subscribed(name) is not None, OPEN_SECONDS)
        return self._is_subscribed(name) is True

    def _is_subscribed(self, name: bytes) -> bool | None:
        """Return whether a subscription is in effect; None while it is under way."""
        if not self._connected or self._link_of is None or name not in self._channels:
            return False
        return True if self._link_of(name).subscriber.has(name) else None

    # The connection

    async def open(self, on_payload: OnPayload, on_state: OnState) -> None:
        """Connect; see :meth:`Bus.open`.

        Raises:
            ConfigError: the server is too old, or can delete the journal.
        """
        self._on_payload, self._on_state = on_payload, on_state
        self._running = asyncio.get_running_loop().create_task(self._run())
        await self._changes.until(lambda: self._connected or self._unsuitable is not None, OPEN_SECONDS)
        if self._unsuitable is not None:
            await self.close()
            raise ConfigError(f"cannot use this server as a bus: {self._unsuitable}")

    async def close(self) -> None:
        """Send what is queued, for 1 s at most, and disconnect."""
        running, self._running = self._running, None
        if running is None:
            return
        self._on_payload, self._on_state = lambda channel, payload: None, lambda connected: None
        if self._connected:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    for link in self._links:
                        await link.publisher.flush()
        running.cancel()
        await asyncio.wait([running])

    async def _run(self) -> None:
        delay = FIRST_DELAY
        while True:
            begun = asyncio.get_running_loop().time()
            try:
                await self._session()
            except* (RedisError, OSError, TimeoutError, asyncio.IncompleteReadError) as error:
                self._failed(reason(error))
            except* Exception as error:
                LOG.error("the connection to Redis failed unexpectedly", exc_info=error)
                self._failed(reason(error))
            # close() canceled this task, but a TaskGroup that fails in the same turn raises its own errors instead.
            if self._running is None:
                return
            if asyncio.get_running_loop().time() - begun >= STABLE_SECONDS:
                delay = FIRST_DELAY
            await asyncio.sleep(delay * random.uniform(0.5, 1))  # noqa: S311  (spreads the attempts)
            delay = min(delay * 2, LONGEST_DELAY)

    def _failed(self, why: str) -> None:
        if self._available:
            self._available = False
            audit.record("bus_unavailable", level=logging.ERROR, error=why)
            text = "Redis is unavailable (%s); messages to other nodes are dropped until it is back%s"
            LOG.error(text, why, hint(why))

    async def _session(self) -> None:
        """Connect, and carry messages until the connection is lost."""
        opened: list[AbstractConnection] = []
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                links, link_of = await self._connect(opened)
            async with asyncio.TaskGroup() as group:
                for link in links:
                    group.create_task(link.publisher.run())
                    group.create_task(link.subscriber.run())
                self._links, self._link_of = links, link_of
                for channel in self._channels:
                    link_of(channel).subscriber.subscribe([channel])
                group.create_task(self._watch(links))
                group.create_task(self._begin(links))
        finally:
            self._links, self._link_of = [], None
            self._set_connected(False)
            for connection in opened:
                await connection.disconnect(nowait=True)

    async def _begin(self, links: list[_Link]) -> None:
        """Report that the bus is connected, as soon as the servers work and all subscriptions are in effect."""
        for link in links:
            link.probe()
        if len(links) == 1 and self._channels:  # in a cluster, this name may belong to another server
            links[0].publisher.put(pack("PUBLISH", next(iter(self._channels)) + b":probe", b""))
        for link in links:
            await link.publisher.flush()
        await self._changes.until(lambda: all(link.subscriber.settled() for link in links))
        self._set_connected(True)

    async def _watch(self, links: list[_Link]) -> None:
        """Notice a server that does not answer, or refuses the probe."""
        while True:
            for _ in range(TICKS):
                await asyncio.sleep(TICK_SECONDS)
                for link in links:
                    link.tick()
            for link in links:
                link.probe()

    def _set_connected(self, connected: bool) -> None:
        if connected is self._connected:
            return
        self._connected = connected
        if connected:
            self.counts["connects"] += 1
            if not self._available:
                self._available = True
                audit.record("bus_available")
                LOG.warning("Redis is available again")
        self._on_state(connected)
        self._changes.notify()

    async def _connect(self, opened: list[AbstractConnection]) -> tuple[list[_Link], _LinkOf]:
        """Open the connections to all servers.

        Args:
            opened: where the connections are added, for the caller to close.

        Returns:
            The links, and a function that finds the link of a channel.
        """
        first = await self._connections.open()
        opened.append(first)
        facts = await facts_of(first, config=not self._examined)
        self._examine(facts)
        servers: tuple[Server, ...] = ()
        if self._connections.is_cluster or facts.info.get("cluster_enabled") == "1":
            servers = servers_of(await call(first, "CLUSTER", "SLOTS"), self._connections.host)
        await first.disconnect(nowait=True)
        if not servers:
            link = await self._link(opened, CLASSIC, None)
            return [link], lambda channel: link
        links: list[_Link] = []
        by_slot: dict[int, _Link] = {}
        for server in servers:
            links.append(await self._link(opened, SHARDED, server))
            by_slot |= {slot: links[-1] for start, end in server.slots for slot in range(start, end + 1)}
        return links, lambda channel: by_slot[slot_of(channel)]

    def _examine(self, facts: Facts) -> None:
        """Log what is wrong with a server, at the start only.

        Raises:
            UnsuitableServer: it cannot be used.
        """
        journal = self._probe_key is not None
        found = findings(facts, journal=journal)
        for level, text in found if not self._examined else ():
            if level == "warn":
                LOG.warning("%s", text)
        first, self._examined = not self._examined, True
        failed = next((text for level, text in found if level == "fail"), None)
        if failed is not None:
            if first:
                self._unsuitable = unsuitable(facts, journal=journal)
                self._changes.notify()
            raise UnsuitableServer(failed)

    async def _link(self, opened: list[AbstractConnection], verbs: Verbs, server: Server | None) -> _Link:
        address = () if server is None else (server.host, server.port)
        for _ in range(2):
            opened.append(await self._connections.open(*address))
        publisher = Publisher(opened[-2], self._probe(server), self._queue)
        return _Link(publisher, Subscriber(opened[-1], verbs, self._received, self._changes.notify), verbs)

    def _probe(self, server: Server | None) -> bytes:
        if self._probe_key is None:
            return pack("PING")
        key = self._probe_key if server is None else f"{self._probe_key}:{{{server.tag()}}}"
        return pack("SET", key, "1", "EX", "60")
