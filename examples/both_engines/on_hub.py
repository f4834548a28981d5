"""Run the chat on the hub, roomkey's own server."""

import os
import sys

from chat import build, policy

from roomkey import Verifier
from roomkey.hub import Hub

SECRET = os.environ.get("ROOMKEY_SECRET") or sys.exit("ROOMKEY_SECRET is not set: see README.md")

hub = Hub(Verifier.hs256(SECRET, audience="chat"), policy=policy)
build(hub, hub.guard)

if __name__ == "__main__":
    hub.run(host="127.0.0.1", port=int(os.environ.get("PORT", "8000")))
