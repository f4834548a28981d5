"""What the contract tests know of a host: how to start it, and what its server can be told to do.

The tests in this folder state what every Socket.IO server with a guard must do. They run against each host in ``HOSTS``
(``hosts.py``), over real sockets and both transports. They look only at packets, and at what handlers were called with.

To add a host:

1. Write a :class:`Host` whose ``start`` opens a server with a guard and the application below. A host in another
   process or language sends messages to it: all arguments of :class:`Server` are plain values.
2. Add it to ``HOSTS``. List what it cannot do in ``lacks``: tests marked ``@needs(...)`` skip it.
3. Run ``pytest tests/hosts``.

The application of every host:

- The namespaces ``/``, ``/chat`` and ``/admin``; the policy allows ``/admin`` to the role ``admin``.
- The rooms that the token names can be joined, with the guard's own ``join-room`` and ``leave-room`` events.
- The connect handler takes ``auth`` and records ``("connect", namespace, subject, auth)``. Then it does what
  ``Options.connect`` says.
- The disconnect handler records ``("disconnect", namespace, subject)``.
- The event ``echo`` records ``("echo", namespace, subject, argument)`` and acknowledges with its argument.
- A subject that the guard does not know is recorded as ``""``.
- The event ``enter`` adds the socket to the room that it names, checked by the policy, and acknowledges ``"entered"``.
- The policy allows the event ``vote`` to the role ``voter``. Its handler records ``("vote", namespace, subject)``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import pytest
from support.clock import FakeClock

NAMESPACES = ("/", "/chat", "/admin")

REFUSAL = ("full", {"seats": 0})
"""Message and data of a connect handler that refuses."""

HEARTBEAT = 60_000.0
"""Seconds between two pings: no test may depend on them."""


@dataclass(frozen=True)
class Options:
    """Settings of the guard and of the application, with the names of the guard's settings.

    Attributes:
        via: accept tokens in the handshake, in the event ``authenticate``, or in both.
        connect: what the connect handler does: accept, refuse with ``REFUSAL``, raise an error, or wait for
            :meth:`Server.continue_connect`.
        sockets_per_subject: limit of the sockets of one subject.
    """

    via: Literal["handshake", "authenticate", "both"] = "handshake"
    connect: Literal["accept", "refuse", "raise", "wait"] = "accept"
    authenticate_timeout: float = 15.0
    max_attempts: int = 3
    connect_timeout: float = 15.0
    grace: float = 25.0
    warn_before: float = 60.0
    max_refusals: int = 3
    max_anonymous: int = 1000
    max_bad_tokens: int = 100
    sockets_per_subject: int | None = None


class Server(ABC):
    """A running server.

    Attributes:
        address: ``127.0.0.1:PORT``.
        calls: what the handlers of the application recorded.
    """

    address: str
    calls: list[tuple[Any, ...]]

    @abstractmethod
    async def connect_waits(self) -> None:
        """Return when a connect handler waits."""

    @abstractmethod
    async def continue_connect(self) -> None:
        """Let waiting connect handlers return."""

    @abstractmethod
    async def emit(self, event: str, *arguments: Any, room: str | None = None, namespace: str = "/") -> None:
        """Emit to a room, or to everybody in the namespace."""

    @abstractmethod
    async def disconnect(self, sid: str) -> None:
        """Disconnect a socket of the main namespace."""

    @abstractmethod
    async def revoke(self, *, subject: str) -> int:
        """Revoke a user's access and return the number of sockets that ended."""

    @abstractmethod
    async def update(self, subject: str, *, rooms: list[str]) -> int:
        """Change a user's rooms and return the number of sockets changed."""

    @abstractmethod
    async def clock_has_moved(self) -> None:
        """Do what is due by the clock of the test, and return when it is done."""

    @abstractmethod
    async def settle(self) -> None:
        """Return when nothing that was begun is still running."""

    @abstractmethod
    def remains(self) -> dict[str, int]:
        """Return the number of ``connections`` and ``sockets`` that guard and server still know."""


class Host(ABC):
    """One kind of server.

    Attributes:
        name: in the ids of the tests.
        lacks: features that it does not have, as in ``@needs(...)``.
        is_slow: its tests take seconds, or resemble those of another host.
    """

    name: str
    is_slow: bool = False
    lacks: ClassVar[frozenset[str]] = frozenset()

    @abstractmethod
    def start(self, options: Options, clock: FakeClock) -> AbstractAsyncContextManager[Server]:
        """Start a server with the application above, which accepts tokens of ``issuer_at(clock)``."""


def needs(*features: str) -> Callable[[Any], Any]:
    """Skip hosts that lack one of these features.

    Args:
        features: ``polling``, ``websocket``, ``session_binding``, ``subject_limits`` or ``update``.
    """
    return pytest.mark.needs(*features)
