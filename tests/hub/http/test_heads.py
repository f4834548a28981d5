"""A plain head is read as httptools reads it; every other one is left to httptools."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.rawsocket import KEY, upgrade

from roomkey.hub.http.heads import read_any, read_plain

LINE = b"GET /socket.io/?EIO=4 HTTP/1.1\r\n"
USUAL = upgrade("chat.example:8000", Origin="https://chat.example", cookie="a=b; c=d", accept_language="de, en;q=0.5")


def parts(head: bytes, reader=read_plain):
    found = reader(head)
    request = found[0] if isinstance(found, tuple) else found
    return None if request is None else (request.method, request.path, request.query, request.headers)


def test_usual_head_is_plain():
    assert parts(USUAL) == parts(USUAL, read_any)
    assert parts(USUAL)[3]["sec-websocket-key"] == KEY


@pytest.mark.parametrize(
    "head",
    [
        b"POST / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.0\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.2\r\nHost: x\r\n\r\n",
        b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /\xe9 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\nHost: x\n\r\n\r\n",
        LINE + b"\r\n",
        LINE + b"Host : x\r\n\r\n",
        LINE + b" Host: x\r\n\r\n",
        LINE + b"Host: x\r\n folded\r\n\r\n",
        LINE + b"Host: x\rY: z\r\n\r\n",
        LINE + b"Host: x\nY: z\r\n\r\n",
        LINE + b"Host: x\x00\r\n\r\n",
        LINE + b"Host\r\n\r\n",
        LINE + b": x\r\n\r\n",
        LINE + b"Cookie: a\r\nCookie: b\r\n\r\n",
        LINE + b"Host: x\r\nContent-Length: 0\r\n\r\n",
        LINE + b"Host: x\r\nTransfer-Encoding: chunked\r\n\r\n",
        LINE + b"Host: x\r\n\r\nmore",
    ],
)
def test_unusual_head_is_not_plain(head):
    assert read_plain(head) is None


tokens = st.text("abcXYZ019-_!~", min_size=1, max_size=12)
values = st.text(st.characters(max_codepoint=255, blacklist_characters="\r\n"), max_size=20) | st.sampled_from(
    ["", " ", "\t x \t", "upgrade", "close", "a,b", "é", "a\x00b", "13", "chunked", "a: b"]
)
names = tokens | st.sampled_from(
    ["Host", "Upgrade", "CONNECTION", "cookie", "Content-Length", "Te", "a b", "", "é", "x:"]
)
targets = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20).map(lambda text: "/" + text)


@given(targets, st.lists(st.tuples(names, values), max_size=6), st.sampled_from(["\r\n", "\r\n\r\n", "", " \r\n"]))
@example("/socket.io/#x?EIO=4", [("Host", "x")], "\r\n")
def test_plain_head_is_read_as_by_httptools(target, headers, end):
    lines = "".join(f"{name}:{value}\r\n" for name, value in headers)
    head = f"GET {target} HTTP/1.1\r\n{lines}{end}".encode("latin-1")
    plain = parts(head)
    assert plain is None or plain == parts(head, read_any)
