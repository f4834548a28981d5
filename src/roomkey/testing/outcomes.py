"""What a test client receives, and how tests expect a refusal."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, NamedTuple

from roomkey.errors import AuthError

CLIENT_LEFT, SERVER_LEFT, TRANSPORT_CLOSED = "io client disconnect", "io server disconnect", "transport close"
"""How a socket ended, in the words of the official JavaScript client."""


class Event(NamedTuple):
    """An event that a client received.

    Attributes:
        name: the name.
        args: the arguments.
    """

    name: str
    args: tuple[Any, ...]

    @property
    def data(self) -> Any:
        """The argument; None if there is none, and a tuple if there are several."""
        return plain(self.args)


class Received(list[Event]):
    """The events that a client has received, the oldest first.

    Call it with a name to get the data of the events with this name: ``client.received("message") == ["hello"]``.
    """

    def __call__(self, name: str) -> list[Any]:
        """Return the data of the events with a name, the oldest first."""
        return [event.data for event in self if event.name == name]


def plain(args: tuple[Any, ...]) -> Any:
    """Return arguments as python-socketio does: none as None, one as itself, several as a tuple."""
    return (args[0] if args else None) if len(args) < 2 else args


class Refused(Exception):
    """Raised when the server refuses a connection, a token, or something that a client asks for.

    Attributes:
        message: the text for the client.
        code: the error's code, such as ``invalid_token``; empty if the server did not send one.
        reason: the more specific code, such as ``token_expired``, or None.
        data: everything that the client was told.
        status: the HTTP status, if the server refused the request itself; else None.
    """

    def __init__(self, message: str, data: object = None, *, status: int | None = None) -> None:
        self.message = message
        self.data: Any = data
        told = data if isinstance(data, Mapping) else {}
        self.code = str(told.get("code", ""))
        self.reason: str | None = told.get("reason")
        self.status = status
        super().__init__(", ".join(str(part) for part in (message, self.code, self.reason, status) if part))


class Closed(NamedTuple):
    """Why a client is not connected any more.

    Attributes:
        how: ``io client disconnect``, ``io server disconnect`` or ``transport close``: what the official JavaScript
            client reports as the reason.
        message: the text of the event ``unauthorized``, if the guard sent one; else empty.
        code: its code, such as ``invalid_token``; else empty.
        reason: its more specific code, such as ``token_revoked``; else None.
        data: everything that the event told about the error.
    """

    how: str
    message: str = ""
    code: str = ""
    reason: str | None = None
    data: Mapping[str, Any] = {}

    @property
    def reconnects(self) -> bool:
        """True if the official JavaScript client would reconnect automatically."""
        return self.how == TRANSPORT_CLOSED

    @classmethod
    def told(cls, how: str, unauthorized: object) -> Closed:
        """Return the end of a socket whose last ``unauthorized`` had this argument; None without one."""
        data = unauthorized.get("data") if isinstance(unauthorized, Mapping) else None
        if not isinstance(data, Mapping):
            return cls(how)
        return cls(how, str(data.get("message", "")), str(data.get("code", "")), data.get("reason"), data)


class assert_refused:
    """Expect that the block is refused: a context manager.

    ::

        with assert_refused(reason="token_expired"):
            await connect(app, token=stale)

    The block must raise :class:`Refused`, as test clients do, or an :class:`roomkey.AuthError`, as guards and verifiers
    do. What is omitted can be anything.

    Args:
        code: the error's code, such as ``invalid_token``.
        reason: the more specific code, such as ``token_expired``.
        message: the text for the client.
        status: the HTTP status of a request that the server refused.

    Attributes:
        error: the error, after the block.

    Raises:
        AssertionError: the block was not refused, or for another reason.
    """

    error: Refused | AuthError

    def __init__(
        self,
        *,
        code: str | None = None,
        reason: str | None = None,
        message: str | None = None,
        status: int | None = None,
    ) -> None:
        named = {"code": code, "reason": reason, "message": message, "status": status}
        self._expected = {name: value for name, value in named.items() if value is not None}

    def __enter__(self) -> assert_refused:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        """Compare the refusal with what is expected; other exceptions pass."""
        if error is None:
            raise AssertionError(f"nothing was refused; expected a refusal with {self._expected or 'any code'}")
        if not isinstance(error, (Refused, AuthError)):
            return False
        found = {name: getattr(error, name, None) for name in ("code", "reason", "message", "status")}
        if any(found[name] != value for name, value in self._expected.items()):
            raise AssertionError(f"refused with {found}; expected {self._expected}") from error
        self.error = error
        return True
