from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from support.provider_login import ProviderDesk, provider_desk
from support.scripted_provider import ScriptedProvider, scripted_provider


@pytest.fixture
def scripted() -> Iterator[ScriptedProvider]:
    with scripted_provider() as provider:
        yield provider


@pytest.fixture
async def desk(scripted: ScriptedProvider) -> AsyncIterator[ProviderDesk]:
    """Return a login server whose users log in at the scripted provider, and get an account then."""
    async with provider_desk(scripted) as opened:
        yield opened
