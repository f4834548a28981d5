"""A Socket.IO server with a guard: clients connect, then send their token in the event ``authenticate``."""

import os
import sys
from pathlib import Path

import socketio
import uvicorn

from roomkey import PermissionDenied, Policy, Verifier
from roomkey.policies import rooms_claim
from roomkey.socketio import AsyncGuard, Authenticate

SECRET = os.environ.get("ROOMKEY_SECRET") or sys.exit("ROOMKEY_SECRET is not set: see README.md")

sio = socketio.AsyncServer(async_mode="asgi")

policy = Policy()
policy.room("*")(rooms_claim)  # the rooms that the token names; every room for the role admin

via = Authenticate(timeout=15.0, max_attempts=3)  # until then, the socket receives and sends nothing else
guard = AsyncGuard(Verifier.hs256(SECRET, audience="chat"), via=via, policy=policy)
guard.attach(sio)
guard.serve_rooms()  # clients can send join-room and leave-room


@sio.event
async def connect(sid, environ, auth):  # runs only after the token is verified
    await sio.emit("welcome", guard.identity(sid).subject, to=sid)


@sio.event
async def message(sid, room, text):
    if room not in sio.rooms(sid):
        raise PermissionDenied("not in this room")  # the guard responds to the client
    await sio.emit("message", {"from": guard.identity(sid).subject, "text": text}, room=room)


app = socketio.ASGIApp(sio, static_files={"/": str(Path(__file__).with_name("client.html"))})

if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ.get("PORT", "8000")))
