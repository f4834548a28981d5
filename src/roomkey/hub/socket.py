"""One namespace connection of the hub."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from roomkey.core.ack_expiry import MAX_CALLBACKS
from roomkey.core.admission import Admission, State
from roomkey.hub.session import EngineSession
from roomkey.wire import Message

NOWHERE: set[Room] = set()
"""The rooms of every socket that is in none: thousands of empty sets would cost memory. Nobody adds to it."""

NOT_HANDLED = object()
"""What a handler returns to withhold its acknowledgement."""

Room = str | int
"""A room's name; whatever can be a dictionary's key works."""

AckCallback = Callable[..., Any]


def as_arguments(data: object) -> list[object]:
    """A value as the arguments of a packet: None is none, a tuple is several, anything else is one."""
    if data is None:
        return []
    return list(data) if isinstance(data, tuple) else [data]


class Answer:
    """An acknowledgement that somebody waits for.

    Attributes:
        values: what the client answered; a TimeoutError once it cannot any more.
    """

    __slots__ = ("values",)

    def __init__(self) -> None:
        self.values: asyncio.Future[tuple[Any, ...]] = asyncio.get_running_loop().create_future()

    def __call__(self, *values: Any) -> None:
        """The acknowledgement arrived."""
        if not self.values.done():
            self.values.set_result(values)

    def lost(self) -> None:
        """The client is gone, or did not answer for too long."""
        if not self.values.done():
            self.values.set_exception(TimeoutError("the client did not answer"))


class Socket:
    """A client in one namespace, and what the application keeps about it.

    Attributes:
        sid: its Socket.IO id.
        admission: whether it is in, and who it is.
        session: the Engine.IO session that carries it.
        rooms: where it is, without its own sid.
        data: what ``save_session`` put there.
    """

    __slots__ = ("_acks", "_held", "_last_ack", "admission", "data", "namespace", "rooms", "session", "sid")

    def __init__(self, admission: Admission, session: EngineSession) -> None:
        self.sid = admission.sid
        self.namespace = admission.namespace
        self.admission = admission
        self.session = session
        self.rooms: set[Room] = NOWHERE
        self.data: dict[str, Any] | None = None
        self._acks: dict[int, AckCallback] | None = None
        self._last_ack = 0
        self._held: list[Message] | None = None

    def send_direct(self, message: Message) -> None:
        """Send what is addressed to this socket and nobody else; before the CONNECT reply it waits for that."""
        if not self.admission.may_receive(alone=True):
            return
        if self.admission.answered or self.admission.state is State.ADMITTED:
            self.session.send(message)
        elif self._held is None:
            self._held = [message]
        else:
            self._held.append(message)

    def send_held(self) -> None:
        """The CONNECT reply is out: what waited for it follows."""
        held, self._held = self._held, None
        for message in held or ():
            self.session.send(message)

    def expect_ack(self, callback: AckCallback) -> int:
        """Keep a callback for an acknowledgement, instead of the oldest if there are too many.

        Returns:
            The id to ask for it with.
        """
        self._last_ack += 1
        if self._acks is None:
            self._acks = {}
        self._acks[self._last_ack] = callback
        _lose(self._acks.pop(self._last_ack - MAX_CALLBACKS, None))
        return self._last_ack

    def take_ack(self, number: int) -> AckCallback | None:
        """The callback of an acknowledgement that was asked for and not yet given, or None."""
        return self._acks.pop(number, None) if self._acks is not None else None

    def forget_acks(self) -> None:
        """No acknowledgement will come any more."""
        acks, self._acks = self._acks, None
        for callback in acks.values() if acks is not None else ():
            _lose(callback)


def _lose(callback: AckCallback | None) -> None:
    """Nothing will call this any more."""
    if isinstance(callback, Answer):
        callback.lost()
