"""The floor: bare picows that answers the same bytes. It parses no JSON, verifies no token and checks nothing.

The load generator's bad tokens end in six times A; that is how they are told apart here.
"""

from __future__ import annotations

import os
import secrets

import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_create_server

TEXT, BINARY, CLOSE = WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.CLOSE
OPEN = b'0{"sid":"%s","upgrades":[],"pingTimeout":20000,"pingInterval":25000,"maxPayload":1000000}'

admitted: set[WSTransport] = set()


class Peer(WSListener):
    def on_ws_connected(self, transport: WSTransport) -> None:
        transport.send(TEXT, OPEN % secrets.token_urlsafe(15).encode())

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == TEXT:
            self.on_packet(transport, frame.get_payload_as_bytes())
        elif frame.msg_type == BINARY:
            transport.send(BINARY, frame.get_payload_as_bytes())
        elif frame.msg_type == CLOSE:
            transport.disconnect()

    def on_packet(self, transport: WSTransport, packet: bytes) -> None:
        kind = packet[:2]
        if kind == b"42":
            start = packet.find(b"[")
            if start > 2:
                transport.send(TEXT, b"43%s[%s" % (packet[2:start], packet[start + len(b'["message",') :]))
            else:
                for peer in admitted:
                    peer.send(TEXT, packet)
        elif kind == b"40":
            if packet.endswith(b'AAAAAA"}'):
                transport.send(TEXT, b'44{"message":"Authentication error"}')
            else:
                admitted.add(transport)
                transport.send(TEXT, b'40{"sid":"%s"}' % secrets.token_urlsafe(15).encode())
        elif kind == b"45":
            start = packet.find(b"[")
            transport.send(TEXT, b"46%s[%s" % (packet[2:start], packet[start + len(b'["message",') :]))

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        admitted.discard(transport)


async def main() -> None:
    server = await ws_create_server(
        lambda request: Peer(), "127.0.0.1", int(os.environ["PORT"]), read_buffer_init_size=2048
    )
    await server.serve_forever()


uvloop.run(main())
