"""Why a request gets no session: Engine.IO's error responses."""

from __future__ import annotations

from typing import NamedTuple

import orjson


class Refusal(NamedTuple):
    """An error response, with the codes that Node's engine.io uses (Engine.IO protocol 4).

    Attributes:
        status: HTTP status code.
        code: Engine.IO's error code.
        message: Engine.IO's error text.
        detail: explanation for the audit log; clients never see it.
    """

    status: int
    code: int
    message: str
    detail: str = ""

    @property
    def body(self) -> bytes:
        """The response's body, as JSON."""
        return orjson.dumps({"code": self.code, "message": self.message})


UNKNOWN_TRANSPORT = Refusal(400, 0, "Transport unknown")
UNKNOWN_SID = Refusal(400, 1, "Session ID unknown")
BAD_METHOD = Refusal(400, 2, "Bad handshake method")
BAD_REQUEST = Refusal(400, 3, "Bad request")
FORBIDDEN = Refusal(403, 4, "Forbidden")
UNSUPPORTED_VERSION = Refusal(400, 5, "Unsupported protocol version")
NOT_FOUND = Refusal(404, 3, "Not found")
BODY_TOO_SLOW = Refusal(408, 3, "Bad request", "the request body did not arrive in time")
BODY_TOO_LARGE = Refusal(413, 3, "Bad request", "the request body is larger than the limit")
TOO_MANY = Refusal(429, 4, "Forbidden", "too many connections without a token")
HEAD_TOO_LARGE = Refusal(431, 3, "Bad request", "the request's head is larger than the limit")

# Not the packet CLOSE: python-socketio's client would stop for good, and JavaScript's reconnects after either.
CLOSED_BY_SERVER = UNKNOWN_SID._replace(detail="the server closed the session")
UPGRADE_TOO_LATE = BAD_REQUEST._replace(detail="the upgrade waited too long for the verifier")
