"""Links between nodes, on which they forward requests to the node that owns a session.

The node with the client's connection is the front; the one with the session is the owner. A link is one connection: a
Unix socket between processes of one machine, TCP between machines. The front opens it when it has the first request for
an owner, and keeps it. It carries many conversations at a time, each with a number. A node that is both a front and an
owner for another one has two links with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import random
import socket
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from roomkey.bus.peer_link import CONNECT_SECONDS, MAX_MESSAGE, Conversation, Link
from roomkey.bus.sids import decode
from roomkey.bus.unix_paths import serve_at, socket_path
from roomkey.errors import ConfigError

__all__ = ["Conversation", "Link", "Owner", "Peers"]

LOG = logging.getLogger("roomkey.bus")

PING_SECONDS = 2.0
"""How often a front tests its links. A side that receives nothing for three such times gives up the link."""

MAX_LINKS = 1024
MAX_STRANGERS = 64
"""Accepted links, and connections in their handshake. A further link is closed. A further connection takes the place of
the oldest one: nodes need milliseconds for the handshake, so strangers cannot keep them out."""

FIRST_REST, LONGEST_REST = 0.1, 2.0
"""How long a node is not dialed again after a failure, in seconds. The time doubles each time."""

WARNING_SECONDS = 10.0
"""Warnings about refused links come no more often than this."""

_REMEDIES = {
    errno.EADDRINUSE: "another program uses the port; stop it, or choose another port",
    errno.EADDRNOTAVAIL: "this machine does not have the address; use one of its own",
    errno.EACCES: "this user may not use the port; choose one above 1023",
}


class Participant(Protocol):
    """What links need of :class:`roomkey.bus.node.Node`."""

    id: str
    address: str | None

    @property
    def live(self) -> Mapping[str, Reachable]:
        """Return the other nodes that are alive."""


class Reachable(Protocol):
    """A node that is alive."""

    @property
    def address(self) -> str | None:
        """Return where it accepts links, as ``host:port``."""


Owner = Callable[[Link, int, int, bytes], None]
"""Begins a conversation that a front has opened: called with the link, the opening's kind, the number, the payload."""


class Peers:
    """The links of a node: those that it opens to other nodes, and those that it accepts.

    Args:
        node: this node, and the others that are alive.
        keys: one key or two, the cluster's for the purpose ``peer``: a front uses the first, an owner accepts all.
        directory: where the processes of this machine have their Unix sockets: an existing private directory.
        listen: ``host:port`` to accept links of other machines at; port 0 chooses one.
        address: what other machines call it, as ``host:port``. By default, as it listens.
        max_message: the largest message in bytes, such as the body of a response.

    Attributes:
        counts: ``links opened``, ``links accepted``, ``links lost``, ``links refused``, ``links not opened``.

    Raises:
        ConfigError: the address or the path of the directory is not usable.
    """

    def __init__(
        self,
        node: Participant,
        keys: tuple[bytes, ...],
        *,
        directory: Path | None = None,
        listen: str | None = None,
        address: str | None = None,
        max_message: int = MAX_MESSAGE,
    ) -> None:
        self.node = node
        self.keys = keys
        self.counts: Counter[str] = Counter()
        self.max_message = max_message
        self._directory = directory
        self._path = _socket_path(directory, node.id) if directory is not None else None
        self._listen = None if listen is None else split_address(listen)
        self._advertised = address
        if address is not None:
            split_address(address)
        self._begin: Owner | None = None
        self._links: dict[str, Link] = {}
        self._accepted: dict[Link, None] = {}
        self._strangers: dict[Link, None] = {}
        self._rests: dict[str, tuple[float, float]] = {}
        self._dialing: set[asyncio.Task[None]] = set()
        self._servers: list[asyncio.AbstractServer] = []
        self._timer: asyncio.TimerHandle | None = None
        self._closed = True
        self._next_warning = 0.0

    async def open(self, begin: Owner) -> None:
        """Accept links, and allow them to be opened.

        Args:
            begin: called for each conversation that another node begins.

        Raises:
            ConfigError: the address or the directory is in use, or not available.
        """
        self._begin = begin
        self._closed = False
        loop = asyncio.get_running_loop()
        try:
            if self._path is not None:
                if not self._path.parent.is_dir():
                    raise ConfigError(f"the directory {self._path.parent} does not exist; create it with mode 0700")
                _remove_stale_sockets(self._path.parent)
                draft = self._path.with_name(f".{self._path.name}")
                self._servers.append(await serve_at(self._path, draft, lambda: self._accept(signed=False)))
            if self._listen is not None:
                server = await loop.create_server(lambda: self._accept(signed=True), *self._listen)
                self._servers.append(server)
                self.node.address = self._advertised or join_address(*server.sockets[0].getsockname()[:2])
        except OSError as error:
            await self.close()
            raise ConfigError(f"cannot accept requests of other nodes{self._where()}: {_cause(error)}") from None
        self._timer = loop.call_later(PING_SECONDS, self._test_links)

    def _where(self) -> str:
        return "" if self._listen is None else f" at {join_address(*self._listen)}"

    async def close(self) -> None:
        """Close every link and stop accepting. The conversations are lost."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        servers, self._servers = self._servers, []
        for server in servers:
            server.close()
        if self._path is not None and servers:
            self._path.unlink(missing_ok=True)
        for link in (*self._links.values(), *self._accepted, *self._strangers):
            link.close()
        self._links.clear()
        self._accepted.clear()
        self._strangers.clear()
        for task in self._dialing:
            task.cancel()
        await asyncio.gather(*self._dialing, return_exceptions=True)

    def link(self, node_id: str) -> Link | None:
        """Return the link to a node; it may be still connecting. None means that the node cannot be reached now."""
        link = self._links.get(node_id)
        return link if link is not None else self._dial(node_id)

    # Opening

    def _dial(self, node_id: str) -> Link | None:
        now = asyncio.get_running_loop().time()
        if self._closed or node_id == self.node.id or self._rests.get(node_id, (0.0, 0.0))[0] > now:
            return None
        path = _socket_path(self._directory, node_id) if self._directory is not None else None
        if path is not None and not path.exists():
            path = None
        info = self.node.live.get(node_id)
        if path is None and (info is None or info.address is None):
            return None
        link = Link.to(self, decode(self.node.id), decode(node_id), signed=path is None)
        self._links[node_id] = link
        task = asyncio.ensure_future(self._connect(link, path, info.address if info is not None else None))
        self._dialing.add(task)
        task.add_done_callback(self._dialing.discard)
        return link

    async def _connect(self, link: Link, path: Path | None, address: str | None) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                if path is not None:
                    await loop.create_unix_connection(lambda: link, str(path))
                else:
                    await loop.create_connection(lambda: link, *split_address(address or ""))
        except (OSError, ValueError) as error:
            link.fail(f"cannot connect: {type(error).__name__}")
        except asyncio.CancelledError:
            link.close()
            raise

    # Accepting

    def _accept(self, *, signed: bool) -> Link:
        """Return the protocol of a new connection; over the limit of links, one that closes."""
        if len(self._strangers) >= MAX_STRANGERS:
            next(iter(self._strangers)).fail("too many connections without a handshake")
        refused = self._closed or len(self._accepted) >= MAX_LINKS
        link = Link.of_stranger(self, decode(self.node.id), signed=signed, refused=refused)
        if refused:
            self.counts["links refused"] += 1
        else:
            self._strangers[link] = None
        return link

    # For the links

    def begin(self, link: Link, kind: int, number: int, payload: bytes) -> None:
        """Begin a conversation that a front has opened."""
        if self._begin is not None and not self._closed:
            self._begin(link, kind, number, payload)

    def opened(self, link: Link) -> None:
        """Note that a link's handshake is done."""
        if link in self._strangers:
            del self._strangers[link]
            self._accepted[link] = None
            self.counts["links accepted"] += 1
        else:
            self.counts["links opened"] += 1
            for node_id, opened in self._links.items():
                if opened is link:
                    self._rests.pop(node_id, None)

    def lost(self, link: Link, reason: str, *, was_open: bool) -> None:
        """Forget a link."""
        if self._closed:
            return
        if link in self._strangers:
            del self._strangers[link]
            if reason:  # or somebody only looked whether this node listens
                self._refused(reason)
            return
        self.counts["links lost" if was_open else "links not opened"] += 1
        LOG.info("lost the link with another node: %s", reason or "the connection is closed")
        self._accepted.pop(link, None)
        for node_id, known in list(self._links.items()):
            if known is link:
                del self._links[node_id]
                self._rest(node_id, was_open)

    def _refused(self, reason: str) -> None:
        """Count a stranger, and warn about strangers from time to time."""
        self.counts["links refused"] += 1
        now = asyncio.get_running_loop().time()
        if now >= self._next_warning:
            self._next_warning = now + WARNING_SECONDS
            LOG.warning("refused a link of another node: %s; %d so far", reason, self.counts["links refused"])

    def _rest(self, node_id: str, was_open: bool) -> None:
        """Do not dial a node again for a while."""
        now = asyncio.get_running_loop().time()
        self._rests = {name: rest for name, rest in self._rests.items() if rest[0] + LONGEST_REST > now}
        last = self._rests.get(node_id, (0.0, 0.0))[1]
        seconds = 0.0 if was_open else min(max(2 * last, FIRST_REST), LONGEST_REST)
        self._rests[node_id] = (now + seconds * random.uniform(0.75, 1.0), seconds)  # noqa: S311

    def _test_links(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(PING_SECONDS, self._test_links)
        for link in (*self._links.values(), *self._accepted):
            link.test()


def _socket_path(directory: Path, node_id: str) -> Path:
    draft = socket_path(directory, f".peer-{node_id}")  # the longer one of its two names
    return draft.with_name(f"peer-{node_id}")


def _cause(error: OSError) -> str:
    """Return why a node cannot listen, and what to do. asyncio's own text repeats the address."""
    if error.errno in _REMEDIES:
        return _REMEDIES[error.errno]
    return error.strerror or str(error)


def _remove_stale_sockets(directory: Path) -> None:
    """Remove the sockets that killed processes have left: nobody listens at them."""
    for path in directory.glob("peer-*"):
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()


def split_address(address: str) -> tuple[str, int]:
    """Return the host and the port of ``host:port`` or ``[IPv6]:port``.

    Raises:
        ConfigError: the address has another form.
    """
    host, _, port = address.rpartition(":")
    is_bracketed = host.startswith("[") and host.endswith("]")
    if not host or (":" in host and not is_bracketed) or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ConfigError(f"invalid address of a node {address!r}; use host:port")
    return host[1:-1] if is_bracketed else host, int(port)


def join_address(host: str, port: int) -> str:
    """Return ``host:port``, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
