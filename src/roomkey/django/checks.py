"""Django's system checks of ``ROOMKEY``: ``manage.py check``, and each start of ``runserver`` and ``migrate``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning

from roomkey.django.settings import configuration, guard_settings
from roomkey.errors import ConfigError

MIDDLEWARE = "roomkey.django.IdentityMiddleware"
REFRESH_SERIALIZER = "roomkey.django.simplejwt.TokenRefreshSerializer"


def check_settings(app_configs: Any = None, **_: Any) -> list[CheckMessage]:
    """Return what is wrong with the settings."""
    try:
        configuration()
        guard = guard_settings()
    except (ConfigError, ImportError) as error:
        return [Error(str(error), id="roomkey.E001")]
    return list(_warnings(guard))


def _warnings(guard: dict[str, Any]) -> Iterator[CheckMessage]:
    if guard["revocations"] is None:
        yield Warning(
            "revocations are only in the memory of one process: those of other processes, such as manage.py, Celery "
            "and other workers, do not disconnect sockets, and a restart forgets them",
            hint="Set REVOCATIONS in ROOMKEY to a file or a postgresql:// URL.",
            id="roomkey.W001",
        )
    if configuration().simplejwt:
        yield from _of_simplejwt()


def _of_simplejwt() -> Iterator[CheckMessage]:
    from rest_framework_simplejwt.settings import api_settings

    rotates = api_settings.ROTATE_REFRESH_TOKENS and api_settings.BLACKLIST_AFTER_ROTATION
    blacklists = apps.is_installed("rest_framework_simplejwt.token_blacklist")
    if rotates and blacklists and api_settings.TOKEN_REFRESH_SERIALIZER.startswith("rest_framework_simplejwt."):
        yield Warning(
            "each refresh blacklists the old refresh token, which disconnects the sockets of its user",
            hint=f"Set TOKEN_REFRESH_SERIALIZER in SIMPLE_JWT to {REFRESH_SERIALIZER!r}, or to a subclass of it.",
            id="roomkey.W002",
        )
    if "SIGNING_KEY" not in (getattr(settings, "SIMPLE_JWT", None) or {}) and settings.SECRET_KEY_FALLBACKS:
        yield Warning(
            "simplejwt signs with SECRET_KEY, and does not know SECRET_KEY_FALLBACKS: a new SECRET_KEY makes all "
            "tokens invalid",
            hint="Set SIGNING_KEY in SIMPLE_JWT to a secret of its own.",
            id="roomkey.W003",
        )
