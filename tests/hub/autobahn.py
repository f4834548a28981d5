"""An echo server on the hub's WebSocket transport, for the Autobahn test suite. It is run by hand:

    python tests/hub/autobahn.py [--loop uvloop]

Install ``autobahntestsuite`` with Python 2.7, save the following as ``fuzzingclient.json``, and run
``wstest -m fuzzingclient``. The results are in ``reports/index.json``::

    {"servers": [{"agent": "roomkey", "url": "ws://127.0.0.1:9011"}], "exclude-cases": [], "exclude-agent-cases": {},
     "cases": ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*"], "outdir": "reports"}
"""

from __future__ import annotations

import argparse
import asyncio
import time
from types import SimpleNamespace
from typing import Any, cast

from roomkey import Issuer
from roomkey.core.rate import TokenBucket
from roomkey.hub import Limits
from roomkey.hub.http.heads import read_any
from roomkey.hub.settings import HubSettings
from roomkey.hub.transports.websocket import WebSocket, WebSockets

PORT = 9011
RATE = 1e9
SETTINGS = HubSettings(
    Issuer.ephemeral(audience="echo").verifier(),
    limits=Limits(payload=20_000_000, fragments=1_000_000),  # the suite sends 16 MB, also in 65,536 fragments
    max_unsent=1 << 28,
)


class Echo:
    """Stands in for an Engine.IO session: sends each message back."""

    alive = True

    def __init__(self, shared: WebSockets) -> None:
        self.connection = SimpleNamespace(admitted=True)
        self.bucket = TokenBucket(RATE, time.monotonic())
        self.transport = WebSocket(shared, cast(Any, self))
        self.transport.on_admitted()

    def text(self, data: bytes) -> None:
        self.transport.send_packet(data)

    def binary(self, data: bytes) -> None:
        self.transport.send_packet(data, binary=True)

    def violation(self, detail: str) -> None:
        print(detail)

    def end(self, _reason: str) -> None:
        self.alive = False

    def too_slow(self) -> None:
        self.transport.abort()


class Handshake(asyncio.Protocol):
    def __init__(self, shared: WebSockets) -> None:
        self.shared = shared
        self.head = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.connection = transport

    def data_received(self, data: bytes) -> None:
        self.head += data
        head, blank_line, rest = self.head.partition(b"\r\n\r\n")
        if blank_line and (found := read_any(head + blank_line)) is not None:
            key = found[0].headers["sec-websocket-key"]
            Echo(self.shared).transport.start(cast(asyncio.Transport, self.connection), key, rest)


async def serve() -> None:
    shared = WebSockets(SETTINGS, cast(Any, time))
    server = await asyncio.get_running_loop().create_server(lambda: Handshake(shared), "127.0.0.1", PORT)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="asyncio")
    if parser.parse_args().loop == "uvloop":
        import uvloop

        uvloop.run(serve())
    else:
        asyncio.run(serve())
