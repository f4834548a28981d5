"""Test guarded handlers in a few lines and milliseconds: clients in memory, a clock, and an OpenID provider.

::

    async def test_ada_reads_her_room():
        ada = await connect(app, token=issuer.issue("ada", rooms=["red"]))
        await ada.join("red")
        with assert_refused(code="permission_denied"):
            await ada.join("blue")

No port is opened and nothing sleeps. It works with every test framework; for pytest there are fixtures, whose names
begin with ``roomkey_``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkey.extras import imported_when_used
from roomkey.testing.blocking import BlockingClient, connect_blocking
from roomkey.testing.client import Client, connect
from roomkey.testing.clock import Clock
from roomkey.testing.outcomes import Closed, Event, Received, Refused, assert_refused
from roomkey.testing.settling import settle

if TYPE_CHECKING:
    from roomkey.testing.provider import FakeProvider
else:  # it requires the extra ``remote``
    __getattr__ = imported_when_used(__name__, FakeProvider="provider")

__all__ = [
    "BlockingClient",
    "Client",
    "Clock",
    "Closed",
    "Event",
    "FakeProvider",
    "Received",
    "Refused",
    "assert_refused",
    "connect",
    "connect_blocking",
    "settle",
]
