"""Reading the head of a GET request (RFC 9112)."""

from __future__ import annotations

import re

import httptools

from roomkey.hub.http.requests import NAMES, HttpRequest, split_target

RawHeaders = list[tuple[bytes, bytes]]

# A head that every parser reads alike: single spaces in the request line, names that are tokens, no folded lines, no
# control characters. Nearly all heads are like this, and read twice as fast as with a callback for each header.
_PLAIN = re.compile(rb"GET (/[!-~]*) HTTP/1\.1\r\n((?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~\x80-\xff]*\r\n)+)\r\n")
_LINES = re.compile(r"([^:]+):([^\r]*)\r\n")


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
    plain = _PLAIN.fullmatch(head)
    if plain is None:
        return None
    lines = _LINES.findall(plain[2].decode("latin-1"))
    headers = {_SPELLED[name]: value.strip(" \t") for name, value in lines}
    if len(headers) < len(lines):  # a name is there twice: how its values are joined depends on it
        return None
    if "content-length" in headers or "transfer-encoding" in headers:
        return None
    request = HttpRequest("GET", *split_target(plain[1]), ())
    request.headers = headers
    return request


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
