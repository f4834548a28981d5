"""Guards on a journal in Redis, for tests."""

from __future__ import annotations

from typing import Any

from support.brokers import Broker

from roomkey import Identity, Issuer
from roomkey.bus import RedisJournal
from roomkey.guard.guard import AsyncioGuard

SECRET = "mW3xQ9vT5kB8nR2cJ7dL4fH6gZ1pS0yA"


def journal_at(broker: Broker, *secrets: str, name: str = "roomkey") -> RedisJournal:
    return RedisJournal.at(broker.url, secrets=secrets or [SECRET], name=name)


class JournalServer:
    """A guard with its own access to the journal."""

    def __init__(self, journal: Any, **settings: Any) -> None:
        self.journal = journal
        self.guard = AsyncioGuard(Issuer.ephemeral().verifier(), revocations=journal, **settings)
        self.sync = self.guard._revocation_sync

    async def read(self) -> None:
        for _ in range(2):  # the first one may have begun before
            await self.sync._poll_once()

    def revoked(self, *names: str) -> list[bool]:
        return [self.sync.revocations.is_revoked(Identity("ada", token_id=name)) for name in names]

    async def close(self) -> None:
        await self.sync.close()
        await self.guard.background.settle()
