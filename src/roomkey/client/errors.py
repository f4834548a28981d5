"""What the clients raise."""

from __future__ import annotations

from socketio.exceptions import ConnectionError as ConnectionFailed

from roomkey.client.refusal import Refusal

__all__ = ["ConnectionRefused"]


class ConnectionRefused(ConnectionFailed):  # type: ignore[misc]
    """Raised when the server refused a connection, or when the login has ended.

    Attributes:
        refusal: what the server said, with its ``code``, ``reason`` and ``message``.
    """

    def __init__(self, refusal: Refusal) -> None:
        named = ", ".join(str(name) for name in (refusal.code, refusal.reason) if name)
        super().__init__(f"connection refused: {refusal.message}" + (f" ({named})" if named else ""))
        self.refusal = refusal
