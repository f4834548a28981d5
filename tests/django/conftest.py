"""A Django project in this process: its settings belong to the process, so it is configured once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from support.djangosite.configured import configure
from support.djangosite.running import Site, running


@pytest.fixture(scope="session")
def project() -> None:
    """Configure Django, and create its tables."""
    configure()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)


@pytest.fixture(autouse=True)
def empty_project(project: None) -> Iterator[None]:
    """Let each test begin without users, guards and changed settings."""
    from django.contrib.auth.models import Group, User
    from django.db import connections

    from roomkey.django import guards

    guards.ATTACHED.clear()
    guards._detached.clear()
    yield
    guards.ATTACHED.clear()
    User.objects.all().delete()
    Group.objects.all().delete()
    connections.close_all()


@pytest.fixture
def settings(project: None) -> Iterator[Any]:
    """Return a function that overrides settings until the test ends."""
    from django.test import override_settings

    begun = []

    def override(**changes: Any) -> None:
        begun.append(override_settings(**changes))
        begun[-1].enable()

    yield override
    for one in reversed(begun):
        one.disable()


@pytest.fixture
async def site(project: None) -> AsyncIterator[Site]:
    async with running() as running_site:
        yield running_site
