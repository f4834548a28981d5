"""The hub: a fast Socket.IO server that is closed until a token opens it.

::

    hub = Hub(Verifier.hs256(SECRET, audience="chat"))

    @hub.event
    async def message(sid, text):
        await hub.emit("message", text)

    hub.run(port=8000)
"""

from __future__ import annotations

from roomkey.extras import needs

with needs("hub", "roomkey.hub"):
    import orjson  # noqa: F401
    import picows  # noqa: F401

from roomkey.core.credentials import Authenticate, Handshake
from roomkey.core.subject_limits import SubjectLimits
from roomkey.hub.asgi import ASGIApp
from roomkey.hub.hub import Hub
from roomkey.hub.namespace import Namespace
from roomkey.wire import Limits

__all__ = ["ASGIApp", "Authenticate", "Handshake", "Hub", "Limits", "Namespace", "SubjectLimits"]
