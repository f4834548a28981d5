"""A bus between the processes of one machine, without a broker: each is connected to each by Unix sockets."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import stat
from collections import Counter
from contextlib import suppress
from pathlib import Path

from roomkey.bus.changes import Changes
from roomkey.bus.protocol import MAX_PAYLOAD, OnPayload, OnState
from roomkey.bus.unix_frames import message, split_message
from roomkey.bus.unix_links import Accepted, Connected
from roomkey.bus.unix_paths import serve_at, socket_path

__all__ = ["UnixBus"]

SUFFIX = ".bus"
MAX_QUEUE = 8 * 1024 * 1024
WAIT_SECONDS = 1.0
FIRST_PAUSE, LONGEST_PAUSE = 0.02, 2.0
LOOK_SECONDS = 2.0
"""How often a bus looks whether the others can still find it: its folder may have been deleted."""


class UnixBus:
    """One node's bus in a private folder, in which each bus has a socket.

    A bus connects to every socket that it finds. If another bus does not read, what is for it waits up to ``max_queue``
    bytes; then its connection is closed, and the other bus reports that it may have lost messages.

    Args:
        folder: a folder that only this user can open (mode 0700), with a short path. The buses in it are one network.
        max_payload: the largest message in bytes.
        max_queue: the most bytes that wait for one other bus.

    Attributes:
        name: the name of its socket.

    Raises:
        ConfigError: the path is too long.
    """

    def __init__(self, folder: Path, *, max_payload: int = MAX_PAYLOAD, max_queue: int = MAX_QUEUE) -> None:
        self.name = secrets.token_hex(6)
        self.max_payload = max_payload
        self.counts: Counter[str] = Counter()
        self._folder = folder
        self._path = socket_path(folder, f"{self.name}{SUFFIX}")
        self._draft = folder / f".{self.name}"
        self._max_queue = max_queue
        self._channels: dict[bytes, str] = {}
        self._untold: set[str] = set()  # channels of which the others do not know yet that they begin or end
        self._links: dict[str, Connected] = {}  # to the others
        self._accepted: dict[str, Accepted] = {}  # from the others
        self._strangers: set[Accepted] = set()  # that have not told their names
        self._dialing: dict[str, asyncio.Task[None]] = {}
        self._missing: dict[str, asyncio.TimerHandle] = {}  # the others without which this bus is not connected
        self._server: asyncio.Server | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._look_timer: asyncio.TimerHandle | None = None
        self._changes = Changes()
        self._on_payload: OnPayload | None = None
        self._on_state: OnState | None = None
        self._connected = False
        self._flushing = False

    # The interface of a bus

    @property
    def connected(self) -> bool:
        """Return True while messages can be sent and received."""
        return self._connected

    @property
    def may_have_sent(self) -> bool:
        """Return True if it has been connected: since then, it sends without waiting for buses that do not respond."""
        return self.counts["connects"] > 0

    async def open(self, on_payload: OnPayload, on_state: OnState) -> None:
        """Listen, and connect to the others; see :meth:`Bus.open`."""
        self._on_payload, self._on_state = on_payload, on_state
        self._keeper = asyncio.get_running_loop().create_task(self._listen())
        await self._changes.until(lambda: self._connected, WAIT_SECONDS)

    async def close(self) -> None:
        """Say goodbye; see :meth:`Bus.close`."""
        self._on_payload = self._on_state = None
        self._connected = False
        if self._keeper is not None:
            self._keeper.cancel()
        for task in self._dialing.values():
            task.cancel()
        for timer in (*self._missing.values(), self._look_timer):
            if timer is not None:
                timer.cancel()
        self._stop_listening()
        links = list(self._links.values())
        for link in links:
            link.leave()
        if links:
            await asyncio.wait([link.lost for link in links], timeout=WAIT_SECONDS)
        for each in (*links, *self._accepted.values(), *self._strangers):
            each.abort()
        self._channels.clear()
        self._changes.notify()

    def publish(self, channel: str, payload: bytes) -> None:
        """Send a message; see :meth:`Bus.publish`."""
        if len(payload) > self.max_payload:
            raise ValueError(f"a message of {len(payload)} bytes is larger than max_payload, {self.max_payload}")
        if not self._is_listening:  # while messages of another bus may be lost, this one sends to all others
            self.counts["dropped: not connected"] += 1
            return
        self.counts["published"] += 1
        encoded = channel.encode()
        data = b""
        for link in self._links.values():
            if encoded in link.wants:
                data = data or message(encoded, payload)
                if not link.send(data):
                    self.counts["dropped: queue full"] += 1
        if data:
            self._flush_soon()

    def subscribe(self, channel: str) -> None:
        """Receive the messages of a channel from now on."""
        if channel.encode() not in self._channels:
            self._channels[channel.encode()] = channel
            self._tell(channel)

    def unsubscribe(self, channel: str) -> None:
        """Do not receive the messages of a channel any more."""
        if self._channels.pop(channel.encode(), None) is not None:
            self._tell(channel)

    async def subscribed(self, channel: str) -> bool:
        """Wait until all other buses know a subscription; see :meth:`Bus.subscribed`."""
        if not self._connected or channel.encode() not in self._channels:
            return False
        return await self._changes.until(self._all_confirmed, WAIT_SECONDS) and channel.encode() in self._channels

    def _all_confirmed(self) -> bool:
        if not self._connected or self._untold:
            return False
        known = self._links.keys() | self._dialing.keys() | self._accepted.keys()
        return all((accepted := self._accepted.get(name)) is not None and accepted.confirmed for name in known)

    # Sending

    def _tell(self, channel: str) -> None:
        """Tell the others of a change. Those that connect later learn all channels."""
        if self._accepted:
            self._untold.add(channel)
            self._flush_soon()

    def _flush_soon(self) -> None:
        """Send what is published in this turn of the event loop together."""
        if not self._flushing and self._on_state is not None:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        for link in self._links.values():
            link.flush()
        if self._untold:
            begin = [channel for channel in self._untold if channel.encode() in self._channels]
            end = [channel for channel in self._untold if channel.encode() not in self._channels]
            self._untold.clear()
            for accepted in self._accepted.values():
                accepted.tell(begin, end)
            self._changes.notify()

    # Listening

    async def _listen(self) -> None:
        """Listen, and find the others. Once they are found, this bus is connected."""
        pause = FIRST_PAUSE
        while True:
            try:
                if self._server is None:
                    self._server = await self._new_server()
                found = {path.stem for path in self._folder.iterdir() if path.suffix == SUFFIX} - {self.name}
                if self._path.exists():
                    break
                self._stop_listening()
            except OSError:  # the folder is missing, or others can open it
                pass
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        self._keeper = None
        for name in (found | self._accepted.keys()) - self._links.keys():
            self._miss(name)
            self._dial(name)
        self._update()
        self._look()

    def _look(self) -> None:
        """Begin again if others cannot find this bus any more: there may be some that it does not know."""
        if self._path.exists():
            self._look_timer = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look)
        else:
            self._restart()

    async def _new_server(self) -> asyncio.Server:
        """Return a server on a new socket.

        Raises:
            OSError: the folder is missing, or others can open it.
        """
        found = self._folder.stat()
        if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
            raise PermissionError(f"others can open the folder {self._folder}")
        return await serve_at(self._path, self._draft, self._accept)

    def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        with suppress(OSError):
            self._path.unlink()

    def _accept(self) -> Accepted:
        accepted = Accepted(self)
        self._strangers.add(accepted)
        return accepted

    # Connections to the others

    def _dial(self, name: str) -> None:
        if name not in self._dialing and name not in self._links and self._on_state is not None:
            self._dialing[name] = asyncio.get_running_loop().create_task(self._connect(name))

    async def _connect(self, name: str) -> None:
        """Connect to another bus, again and again until it is gone."""
        pause = FIRST_PAUSE
        try:
            while await self._try_to_connect(name):
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - so that not all try at once
                pause = min(2 * pause, LONGEST_PAUSE)
        finally:
            if self._dialing.get(name) is asyncio.current_task():
                del self._dialing[name]

    async def _try_to_connect(self, name: str) -> bool:
        """Connect. Returns False if that succeeded, or need not be tried again."""
        loop, path = asyncio.get_running_loop(), self._folder / f"{name}{SUFFIX}"
        try:
            _, link = await loop.create_unix_connection(lambda: Connected(self, name, self._max_queue), str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            if not self._path.exists():  # the whole folder is missing, and the other bus may be alive
                self._restart()
                return False
            if name in self._accepted:  # has messages that are not read yet, and tells whether more are lost
                return True
            self._miss(name)  # it may have sent messages since this bus stopped waiting for it
            self._update()
            self._forget(name)
            return False
        except OSError:
            return True
        try:
            await asyncio.wait((link.ready, link.lost), timeout=WAIT_SECONDS, return_when="FIRST_COMPLETED")
        finally:
            if not link.ready.done():  # also if this is canceled: nobody else would close it
                link.abort()
        return not link.ready.done()

    def link_ready(self, link: Connected) -> None:
        """Take note that another bus can be sent to."""
        if self._on_state is None:  # this bus is closed
            link.abort()
            return
        self._links[link.peer] = link
        self._dialing.pop(link.peer, None)
        self._update()

    def link_lost(self, link: Connected) -> None:
        """Connect to the other bus again, unless it has left."""
        if self._links.get(link.peer) is link:
            del self._links[link.peer]
            self._dial(link.peer)

    # Connections from the others

    def greeted(self, link: Accepted) -> None:
        """Tell another bus which channels this one wants, and connect to it."""
        self._strangers.discard(link)
        if self._on_state is None:  # this bus is closed
            link.abort()
            return
        before = self._accepted.pop(link.peer, None)
        self._accepted[link.peer] = link
        if before is not None:
            before.abort()
        link.tell(list(self._channels.values()), [])
        self._dial(link.peer)

    def missed(self, link: Accepted) -> None:
        """Take note that another bus sent messages that this one did not receive, before the connection began."""
        if self._accepted.get(link.peer) is link:
            self._miss(link.peer)
            self._update()

    def confirmed(self) -> None:
        """Take note that another bus knows the channels."""
        self._update()

    def accepted_lost(self, link: Accepted) -> None:
        """Take note that messages may be lost, unless the other bus said goodbye."""
        self._strangers.discard(link)
        if self._accepted.get(link.peer) is not link:
            return
        del self._accepted[link.peer]
        if link.left:
            self._forget(link.peer)
        else:
            if not self._path.exists():
                self._restart()
            self._miss(link.peer)
            self._update()
            self._dial(link.peer)

    def arrived(self, body: bytes | None) -> None:
        """Take a message."""
        if self._on_payload is None:
            return
        if body is None:
            self.counts["dropped: too large"] += 1
            return
        encoded, payload = split_message(body)
        channel = self._channels.get(encoded)
        if len(payload) > self.max_payload:
            self.counts["dropped: too large"] += 1
        elif channel is not None:
            self.counts["received"] += 1
            self._on_payload(channel, payload)

    # State

    @property
    def _is_listening(self) -> bool:
        return self._server is not None and self._keeper is None

    def _miss(self, name: str) -> None:
        """Do not count as connected until the other bus is connected or gone, or does not respond in time."""
        if name not in self._missing:
            self._missing[name] = asyncio.get_running_loop().call_later(WAIT_SECONDS, self._excuse, name)

    def _excuse(self, name: str) -> None:
        if (timer := self._missing.pop(name, None)) is not None:
            timer.cancel()
        self._update()

    def _forget(self, name: str) -> None:
        """Forget a bus that has left."""
        if (task := self._dialing.pop(name, None)) is not None and task is not asyncio.current_task():
            task.cancel()
        if (link := self._links.pop(name, None)) is not None:
            link.abort()
        if (accepted := self._accepted.pop(name, None)) is not None:
            accepted.abort()
        self._excuse(name)

    def _restart(self) -> None:
        """Begin again, because the folder is missing."""
        if self._keeper is None and self._on_state is not None:
            if self._look_timer is not None:
                self._look_timer.cancel()
            self._keeper = asyncio.get_running_loop().create_task(self._listen())
            self._update()

    def _update(self) -> None:
        """Find out whether this bus is connected, and report a change."""
        for name in list(self._missing):
            accepted = self._accepted.get(name)
            if name in self._links and accepted is not None and accepted.confirmed:
                self._missing.pop(name).cancel()
        connected = self._is_listening and not self._missing
        if self._on_state is not None and connected is not self._connected:
            self._connected = connected
            self.counts["connects"] += connected
            self._on_state(connected)
        self._changes.notify()
