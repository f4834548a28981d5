"""The check of Django's SECRET_KEY, and of settings that default to it."""

from __future__ import annotations

from roomkey.core.keys import Key
from roomkey.errors import ConfigError


def check_secret_key(secret: str | bytes, name: str = "SECRET_KEY") -> None:
    """Reject a secret that somebody could guess, with the name of the setting.

    Raises:
        ConfigError: the secret is too short, or a placeholder.
    """
    try:
        Key.from_secret(secret)
    except ConfigError as error:
        reason = str(error).partition("; generate")[0]
        raise ConfigError(
            f"{name} cannot protect tokens: {reason}; generate one with: python -c 'from django.core.management.utils "
            "import get_random_secret_key as new; print(new())', and keep it out of the repository"
        ) from None
