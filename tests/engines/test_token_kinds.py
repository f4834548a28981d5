"""Valid tokens that are not meant for sockets."""

from __future__ import annotations

import pytest

from roomkey.core.claims import LOGOUT_EVENT
from roomkey.socketio import Authenticate, Handshake


@pytest.mark.checklist("A12")
@pytest.mark.parametrize("via", [Handshake(), Authenticate()], ids=["handshake", "authenticate"])
@pytest.mark.parametrize(
    ("claim", "kind"),
    [("token_type", "refresh"), ("token_use", "id"), ("type", "refresh"), ("events", {LOGOUT_EVENT: {}})],
)
async def test_refresh_id_and_logout_tokens_are_refused(offline, via, claim, kind):
    server = offline(via=via)
    client = await server.client()
    token = server.token(claims={claim: kind})
    if isinstance(via, Handshake):
        client.begin_connect(token)
        [packet] = await client.settle()
    else:
        client.begin_connect(None)
        await client.settle()
        client.begin_event("authenticate", {"token": token})
        packet = (await client.settle())[0]
    assert f"invalid {claim} value" in packet
    assert server.guard.sockets() == []
