"""The bytes of the responses to long-polling requests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from roomkey.hub.http.polling_requests import TEXT, PollingResponse

_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}


class ResponseBytes:
    """Makes the bytes of responses, with the default headers of uvicorn.

    Args:
        headers: further headers of all responses.

    Attributes:
        state: uvicorn's state of the server, which has its default headers.
    """

    def __init__(self, headers: Mapping[str, str]) -> None:
        self.state: Any = None
        self._more = _lines((name.lower().encode(), value.encode("latin-1")) for name, value in headers.items())
        self._default_headers: object = None
        self._defaults = self._ok = b""

    def bytes_of(self, response: PollingResponse, *, closes: bool) -> bytes:
        """Return the bytes of a response."""
        if self._default_headers is not self.state.default_headers:  # uvicorn renews the date once per second
            self._default_headers = self.state.default_headers
            self._defaults = _lines(self.state.default_headers) + self._more
            self._ok = b"%b%b%bcontent-length: " % (_STATUS_LINES[200], self._defaults, _lines(TEXT))
        body = response.body
        if response.headers is TEXT and response.status == 200 and not closes:
            return b"%b%d\r\n\r\n%b" % (self._ok, len(body), body)
        end = b"connection: close\r\n" if closes else b""
        head = _STATUS_LINES[response.status] + self._defaults + _lines(response.headers)
        return b"%bcontent-length: %d\r\n%b\r\n%b" % (head, len(body), end, body)


def _lines(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    return b"".join([b"%b: %b\r\n" % header for header in headers])
