"""Django's users as the accounts of the login server (``roomkey[server]``).

::

    logins = LoginService(DjangoAccounts(), stores.sessions, issuer(), guard, passwords=DjangoPasswords())
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from typing import Any, TypeVar

from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import check_password, get_hasher, identify_hasher, is_password_usable, make_password
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import DatabaseError, InterfaceError

from roomkey.auth import Passwords
from roomkey.core.issuer import Issuer
from roomkey.django.connections import database_thread
from roomkey.django.settings import configuration
from roomkey.errors import ConfigError, Unavailable
from roomkey.stores import Account, AccountNotFound

__all__ = ["DjangoAccounts", "DjangoPasswords", "issuer"]

T = TypeVar("T")


def issuer() -> Issuer:
    """Return the issuer of ``ROOMKEY``.

    Raises:
        ConfigError: there is none.
    """
    found = configuration().issuer
    if found is None:
        raise ConfigError("the login server requires ISSUER in ROOMKEY, such as {'issuer': 'https://chat.example'}")
    return found


class DjangoAccounts:
    """Django's users: :class:`roomkey.stores.Accounts` for the login server. A user who is not active cannot log in.

    Raises:
        ConfigError: the subject of tokens is not the username, by which the login server finds its accounts.
    """

    def __init__(self) -> None:
        if configuration().subject_field != get_user_model().USERNAME_FIELD:
            raise ConfigError(
                "the login server finds accounts by their username; remove SUBJECT_FIELD and VERIFIER 'simplejwt' from "
                "ROOMKEY"
            )

    async def find(self, username: str) -> Account | None:
        """Return the account with this username, or None."""
        return await _in_database(self._find, username)

    async def set_password(self, username: str, password_hash: str) -> None:
        """Replace the password hash."""
        users = get_user_model()._default_manager.filter(**{get_user_model().USERNAME_FIELD: username})
        if not await _in_database(users.update, password=password_hash):
            raise AccountNotFound(username)

    @staticmethod
    def _find(username: str) -> Account | None:
        model, settings = get_user_model(), configuration()
        try:
            user = model._default_manager.get_by_natural_key(username)
        except (model.DoesNotExist, model.MultipleObjectsReturned, ValueError):  # or a text that no user can have
            return None
        return Account(
            username=user.get_username(),
            password_hash=user.password if is_password_usable(user.password) else "",
            roles=tuple(settings.roles(user)) if settings.roles is not None else (),
            rooms=tuple(settings.rooms(user)),
            disabled=not user.is_active,
            name=user.get_full_name() if hasattr(user, "get_full_name") else "",
        )


class DjangoPasswords(Passwords):
    """Hashes and verifies passwords with Django's ``PASSWORD_HASHERS``, and checks new ones with its validators.

    Args:
        at_once: the greatest number of passwords that are hashed in parallel.
        waiting: the greatest number of passwords that wait.
    """

    def __init__(self, *, at_once: int = 2, waiting: int = 64) -> None:
        super().__init__(at_once=at_once, waiting=waiting)
        self._dummy_hash = make_password("no user has this password")  # as slow as the hashes of users

    async def hash(self, password: str) -> str:
        """Return the hash of a new password.

        Raises:
            ConfigError: a validator of ``AUTH_PASSWORD_VALIDATORS`` rejects it.
        """
        try:
            await sync_to_async(validate_password)(password)
        except ValidationError as error:
            raise ConfigError(" ".join(error.messages)) from None
        return await super().hash(password)

    def matches(self, password_hash: str, typed: bytes) -> bool:
        """Return True if this is the password."""
        return bool(check_password(typed.decode(), password_hash))

    def is_weak(self, password_hash: str) -> bool:
        """Return True if a hash has another algorithm or other parameters than the first of ``PASSWORD_HASHERS``."""
        try:
            used, preferred = identify_hasher(password_hash), get_hasher()
        except ValueError:
            return False
        return used.algorithm != preferred.algorithm or bool(preferred.must_update(password_hash))

    def _hash(self, password: str) -> str:
        return str(make_password(unicodedata.normalize("NFC", password)))


async def _in_database(function: Callable[..., T], *arguments: Any, **named: Any) -> T:
    """Call a function that uses the ORM.

    Raises:
        Unavailable: the database failed.
    """
    try:
        async with database_thread():
            return await sync_to_async(function)(*arguments, **named)
    except (DatabaseError, InterfaceError) as error:
        raise Unavailable(f"the database failed: {type(error).__name__}") from error
