"""The Django application ``roomkey.django``."""

from __future__ import annotations

from django.apps import AppConfig
from django.core import checks


class RoomKeyConfig(AppConfig):  # type: ignore[misc]
    """Checks the settings at startup, and disconnects users when Django's models say so."""

    name = "roomkey.django"
    label = "roomkey"
    verbose_name = "roomkey"

    def ready(self) -> None:
        """Register the checks and connect the signals."""
        from roomkey.django.checks import check_settings
        from roomkey.django.signals import connect

        checks.register(check_settings, checks.Tags.security)
        connect()
