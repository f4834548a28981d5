"""A Socket.IO server with a guard that accepts the tokens of ``issuer.py``: same secret, same audience."""

import os
import sys

import socketio
import uvicorn

from roomkey import Policy, Verifier
from roomkey.policies import rooms_claim
from roomkey.socketio import AsyncGuard

SECRET_KEY = os.environ.get("SECRET_KEY") or sys.exit("SECRET_KEY is not set: see README.md")

sio = socketio.AsyncServer(async_mode="asgi")

policy = Policy()
policy.room("*")(rooms_claim)

guard = AsyncGuard(Verifier.hs256(SECRET_KEY, audience="chat"), policy=policy)
guard.attach(sio)
guard.serve_rooms()


@sio.event
async def connect(sid, environ, auth):
    await sio.emit("welcome", guard.identity(sid).subject, to=sid)


if __name__ == "__main__":
    uvicorn.run(socketio.ASGIApp(sio), host="127.0.0.1", port=int(os.environ.get("PORT", "8000")))
