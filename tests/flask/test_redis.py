"""Two nodes of Flask-SocketIO with one message queue."""

from __future__ import annotations

import asyncio
import threading

import pytest
from flask import Flask
from flask_socketio import SocketIO, emit, join_room
from support.clock import FakeClock
from support.live import Raw, until
from support.redis_server import redis_server
from support.tokens import issuer_at
from support.wsgi_thread import serve

from roomkey import Policy
from roomkey.flask import RoomKey, current_identity
from roomkey.policies import rooms_claim

__all__ = ["redis_server"]

pytestmark = pytest.mark.long


class Node:
    """An application whose clients can join rooms and send to them."""

    def __init__(self, url: str, clock: FakeClock) -> None:
        self.app = Flask("node")
        self.socketio = SocketIO(self.app, async_mode="threading", message_queue=url)
        policy = Policy()
        policy.room("*")(rooms_claim)
        self.guard = RoomKey(self.app, self.socketio, issuer_at(clock).verifier(), policy=policy, clock=clock).guard

        @self.socketio.on("join")
        def join(room: str) -> str:
            join_room(room)
            return "joined"

        @self.socketio.on("say")
        def say(room: str, text: str) -> None:
            emit("said", {"from": current_identity.subject, "text": text}, to=room)


def rest_without_redis(node: Node) -> None:
    """Let the thread that listens to Redis wait when Redis has ended: it would try to connect, and log, for ever."""
    node.socketio.server.manager._redis_connect = threading.Event().wait


async def test_nodes_deliver_to_admitted_clients_of_both(redis_server):
    url = redis_server.url
    clock = FakeClock()
    here, there = Node(url, clock), Node(url, clock)
    elsewhere = SocketIO(message_queue=url, async_mode="threading")  # a process that only emits
    with serve(here.app) as one, serve(there.app) as two:
        ada, bob, stranger = await Raw.open(one), await Raw.open(two), await Raw.open(two)
        for client, subject in ((ada, "ada"), (bob, "bob")):
            await client.ask({"token": issuer_at(clock).issue(subject, rooms=["red"])})
            await client.event("join", "red", ack=1)
            assert await client.expect_ack(1) == ["joined"]
        subscribed = here.socketio.server.manager.redis
        async with asyncio.timeout(20):
            while await asyncio.to_thread(lambda: subscribed.pubsub_numsub("flask-socketio")[0][1]) < 2:
                await asyncio.sleep(0.01)
        await ada.event("say", "red", "hello")
        for client in (ada, bob):
            assert await client.expect_event("said") == [{"from": "ada", "text": "hello"}]
        [socket] = there.guard.sockets()
        here.socketio.server.enter_room(socket.sid, "blue", namespace="/")  # the other node decides
        elsewhere.emit("secret", 1, to="blue")
        elsewhere.emit("news", 2)
        for client in (ada, bob):
            assert await client.expect_event("news") == [2]
            assert not any("secret" in str(packet) for packet in client.seen)
        assert await stranger.quiet() == []
        assert await asyncio.to_thread(here.guard.revoke, subject="ada") == 1
        assert await ada.is_closed()
        for client in (bob, stranger):
            await client.close()
        for node in (here, there):
            await asyncio.to_thread(node.guard.close)
            rest_without_redis(node)
        await until(lambda: not here.guard.index.sockets and not there.guard.index.sockets)
