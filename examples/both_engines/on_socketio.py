"""Run the chat on python-socketio with a guard."""

import os
import sys

import socketio
import uvicorn
from chat import build, policy

from roomkey import Verifier
from roomkey.socketio import AsyncGuard

SECRET = os.environ.get("ROOMKEY_SECRET") or sys.exit("ROOMKEY_SECRET is not set: see README.md")

sio = socketio.AsyncServer(async_mode="asgi")
guard = AsyncGuard(Verifier.hs256(SECRET, audience="chat"), policy=policy)
guard.attach(sio)
build(sio, guard)

if __name__ == "__main__":
    uvicorn.run(socketio.ASGIApp(sio), host="127.0.0.1", port=int(os.environ.get("PORT", "8000")))
