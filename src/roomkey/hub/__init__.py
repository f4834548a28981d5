"""The hub: a fast Socket.IO server that admits clients by their tokens.

::

    hub = Hub(Verifier.hs256(SECRET, audience="chat"))

    @hub.event
    async def message(sid, text):
        await hub.emit("message", text)

    hub.run(port=8000)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from roomkey.extras import needs

with needs("hub", "roomkey.hub"):
    import orjson  # noqa: F401

from roomkey.core.credentials import Authenticate, Handshake
from roomkey.core.subject_limits import SubjectLimits
from roomkey.guard.live_sockets import FoundSockets, LiveSocket
from roomkey.hub.http.asgi import ASGIApp
from roomkey.hub.hub import Hub
from roomkey.hub.namespace import Namespace
from roomkey.wire import Limits

if TYPE_CHECKING:
    from roomkey.hub.http import runner
    from roomkey.hub.http.runner import UVICORN_SETTINGS

__all__ = [
    "UVICORN_SETTINGS",
    "ASGIApp",
    "Authenticate",
    "FoundSockets",
    "Handshake",
    "Hub",
    "Limits",
    "LiveSocket",
    "Namespace",
    "SubjectLimits",
    "runner",
]


def __getattr__(name: str) -> Any:
    """Import what needs uvicorn at its first use: an application that mounts ``hub.asgi`` does not need it."""
    if name not in ("runner", "UVICORN_SETTINGS"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    runner = import_module("roomkey.hub.http.runner")
    return runner if name == "runner" else runner.UVICORN_SETTINGS
