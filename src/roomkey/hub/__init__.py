"""The hub: a fast Socket.IO server that admits clients by their tokens.

::

    hub = Hub(Verifier.hs256(SECRET, audience="chat"))

    @hub.event
    async def message(sid, text):
        await hub.emit("message", text)

    hub.run(port=8000)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkey.extras import imported_when_used, needs

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
else:  # they require uvicorn, which an application that mounts ``hub.asgi`` does not need
    __getattr__ = imported_when_used(__name__, UVICORN_SETTINGS="http.runner", runner="http.runner")

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
