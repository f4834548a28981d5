"""python-socketio as its documentation shows it, with PyJWT, under uvicorn."""

from __future__ import annotations

import os

import jwt
import socketio
import uvicorn

SECRET = os.environ["SECRET"]
sio = socketio.AsyncServer(async_mode="asgi")


@sio.event
async def connect(sid, environ, auth):
    try:
        claims = jwt.decode(auth["token"], SECRET, algorithms=["HS256"])
    except jwt.PyJWTError:
        raise socketio.exceptions.ConnectionRefusedError("Authentication error") from None
    await sio.save_session(sid, {"claims": claims})


@sio.event
async def message(sid, data):
    if isinstance(data, dict) and data.get("ack"):
        return data
    await sio.emit("message", data)
    return None


@sio.event
async def join(sid, room):
    await sio.enter_room(sid, room)
    return room


@sio.event
async def room(sid, name, data):
    await sio.emit("message", data, room=name)


uvicorn.run(
    socketio.ASGIApp(sio),
    host="127.0.0.1",
    port=int(os.environ["PORT"]),
    log_level="warning",
    access_log=False,
    loop="uvloop",
    http="httptools",
)
