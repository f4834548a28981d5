"""roomkey's hub with its default settings."""

from __future__ import annotations

import os

from roomkey import Verifier
from roomkey.hub import Hub

# Above max_bad_tokens, a refusal is cheaper: it is only counted.
hub = Hub(Verifier.hs256(os.environ["SECRET"]), max_bad_tokens=10**9)


@hub.event
async def message(sid, data):
    if isinstance(data, dict) and data.get("ack"):
        return data
    await hub.emit("message", data)
    return None


@hub.event
async def join(sid, room):
    await hub.enter_room(sid, room)
    return room


@hub.event
async def room(sid, name, data):
    await hub.emit("message", data, room=name)


hub.run(host="127.0.0.1", port=int(os.environ["PORT"]))
