"""Reading the head of a request (RFC 9112)."""

from __future__ import annotations

import re
from typing import NamedTuple

import httptools

from roomkey.hub.http.requests import NAMES, HttpRequest, split_target

RawHeaders = list[tuple[bytes, bytes]]

# A head that every parser reads alike: single spaces in the request line, names that are tokens, no folded lines, no
# control characters. Nearly all heads are like this, and read twice as fast as with a callback for each header.
_REQUEST_LINE = re.compile(rb"(GET|POST) (/[!-~]*) HTTP/1\.1\r\n")
_HEADERS = re.compile(rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~\x80-\xff]*\r\n)+\r\n")
_LINES = re.compile(r"([^:]+):([^\r]*)\r\n")
_LENGTH = re.compile("0|[1-9][0-9]{0,17}")
_METHODS = {b"GET": "GET", b"POST": "POST"}
_UNUSUAL = frozenset({"upgrade", "expect", "te", "trailer"})


class _Spelled(dict[str, str]):
    """Header names in lower case, by how clients write them. All connections share one string for each common name."""

    def __missing__(self, name: str) -> str:
        return self.get(name.lower(), name.lower())


_SPELLED = _Spelled({spelled: name for name in NAMES.values() for spelled in (name, name.title())})
_SPELLED |= {"Sec-WebSocket-Key": "sec-websocket-key", "Sec-WebSocket-Version": "sec-websocket-version"}


class _Callbacks:
    """The parts of a head, as httptools reports them."""

    __slots__ = ("complete", "headers", "target")

    def __init__(self) -> None:
        self.target = b""
        self.headers: RawHeaders = []
        self.complete = False

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.complete = True


def read_plain(head: bytes) -> HttpRequest | None:
    """Return the GET request in a head without anything unusual. None means: use :func:`read_any`.

    Args:
        head: the bytes up to the blank line, and that line.
    """
    line = _REQUEST_LINE.match(head)
    if line is None or line[1] != b"GET":
        return None
    fields = _fields(head[line.end() :])
    if fields is None or "content-length" in fields:
        return None
    request = HttpRequest("GET", *split_target(line[2]), ())
    request.headers = fields
    return request


class PollHeaders(NamedTuple):
    """The headers of a request of a long-polling client.

    Attributes:
        raw: the bytes from the end of the request line to the blank line.
        fields: by name. Requests that repeat them share this dictionary.
        length: the length of the body, in bytes; None if there is no ``Content-Length``.
        closes: True if the client wants the connection to be closed after the response.
    """

    raw: bytes
    fields: dict[str, str]
    length: int | None
    closes: bool


NO_HEADERS = PollHeaders(b"", {}, None, False)


def read_poll(head: bytes, last: PollHeaders = NO_HEADERS) -> tuple[HttpRequest, PollHeaders] | None:
    """Return the GET or POST request in a head without anything unusual, and its headers.

    None means that uvicorn must read the request. Everything is unusual about which servers or proxies could disagree:
    other versions than HTTP/1.1, a body of unknown length, a GET request with a body, a name that is there twice, an
    upgrade, an expectation.

    Args:
        head: the bytes up to the blank line, and that line.
        last: the headers of the last such request on this connection. Clients repeat them, and then they are not read
            again.
    """
    line = _REQUEST_LINE.match(head)
    if line is None:
        return None
    begin = line.end()
    is_same = len(head) - begin == len(last.raw) and head.startswith(last.raw, begin)
    headers = last if is_same else _poll_headers(head[begin:])
    method = _METHODS[line[1]]
    if headers is None or (headers.length is None if method == "POST" else headers.length):
        return None
    request = HttpRequest(method, *split_target(line[2]), ())
    request.headers = headers.fields
    return request, headers


def _poll_headers(raw: bytes) -> PollHeaders | None:
    fields = _fields(raw)
    if fields is None or not _UNUSUAL.isdisjoint(fields):
        return None
    connection, length = fields.get("connection", "keep-alive").lower(), fields.get("content-length")
    if connection not in ("keep-alive", "close") or (length is not None and _LENGTH.fullmatch(length) is None):
        return None
    return PollHeaders(raw, fields, None if length is None else int(length), connection == "close")


def _fields(raw: bytes) -> dict[str, str] | None:
    """Return the header lines as a dictionary, or None if there is anything unusual in them."""
    if _HEADERS.fullmatch(raw) is None:
        return None
    lines = _LINES.findall(raw.decode("latin-1"))
    fields = {_SPELLED[name]: value.strip(" \t") for name, value in lines}
    if len(fields) < len(lines):  # a name is there twice: how its values are joined depends on it
        return None
    return None if "transfer-encoding" in fields else fields


def read_any(head: bytes) -> tuple[HttpRequest, RawHeaders] | None:
    """Return the GET request in a head, and its headers as they are, or None if it is invalid or another request."""
    found = _Callbacks()
    parser = httptools.HttpRequestParser(found)
    try:
        parser.feed_data(head)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError:
        return None
    if not found.complete or parser.get_method() != b"GET" or parser.get_http_version() == "1.0":
        return None
    return HttpRequest("GET", *split_target(found.target), found.headers), found.headers
