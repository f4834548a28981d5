"""Clients of python-socketio that present tokens, renew them, and stop when the login has ended.

::

    client = AsyncClient(refresh=refresh, tokens=tokens, on_signed_out=ask_to_log_in)
    await client.connect("https://chat.example")

:class:`AsyncClient` and :class:`Client` are those of python-socketio with these differences:

- They present a token at each connection, and a newer one when the server warns that it expires.
- If the server refuses a token for good, they stop. python-socketio's client connects again forever.

The package is a leaf: it uses the names of the wire contract, and nothing of the servers. It requires python-socketio
5.14 and python-engineio 4.12.3, or later.
"""

from __future__ import annotations

from roomkey.extras import needs

with needs("client", "roomkey.client"):
    from roomkey.client.base import check_versions

    check_versions()
    from roomkey.client.async_client import AsyncClient
    from roomkey.client.errors import ConnectionRefused
    from roomkey.client.sync_client import Client
from roomkey.client.proof import ProofKey
from roomkey.client.refusal import Refusal

__all__ = ["AsyncClient", "Client", "ConnectionRefused", "ProofKey", "Refusal"]
