"""Operators of the admin API: authorization and the audit log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from roomkey.extras import needs

with needs("server", "roomkey.server.operators"):
    from fastapi import Request

from roomkey import audit
from roomkey.auth import TokenAuthority
from roomkey.auth.client_auth import is_enabled
from roomkey.auth.http import OAuthError, invalid_request, verify_authorization
from roomkey.auth.issued_tokens import OWN_CLIENT
from roomkey.core.http_tokens import challenge
from roomkey.core.identity import Identity
from roomkey.core.names import OPERATOR
from roomkey.errors import ConfigError
from roomkey.stores import AccountExists, AccountNotFound, Accounts, Clients

__all__ = ["OperatorAccess", "Operators", "audited"]


class Operators:
    """Decides whether a token belongs to an operator.

    - A token without a client was issued with the server's key. It requires the scope ``roomkey:admin``.
    - A token from a user's own login requires that the account has the role ``roomkey:admin`` now.
    - A token of a service requires the scope, and that the client has it now.
    - A token that a user gave to an application never belongs to an operator, whatever it contains.

    Args:
        issuer: ``iss`` of this server's tokens; the guard may also accept those of other issuers.
        accounts: the users, with their current roles.
        clients: the services; None if there are none.
    """

    def __init__(self, issuer: str | None, accounts: Accounts, clients: Clients | None) -> None:
        self._issuer = issuer
        self._accounts = accounts
        self._clients = clients

    async def include(self, who: Identity) -> bool:
        """Return True for an operator.

        Raises:
            Unavailable: the accounts or the clients cannot be read.
        """
        if who.issuer != self._issuer:
            return False
        client_id = who.claim("client_id")
        if client_id == OWN_CLIENT:
            return await self._is_user(who.subject)
        if not who.has_scope(OPERATOR):
            return False
        return client_id is None or (client_id == who.subject and await self._is_service(client_id))

    async def _is_user(self, username: str) -> bool:
        account = await self._accounts.find(username)
        return account is not None and not account.disabled and OPERATOR in account.roles

    async def _is_service(self, client_id: str) -> bool:
        client = None if self._clients is None else await self._clients.find(client_id)
        # A client to which users log in could have the name of a user.
        return client is not None and is_enabled(client) and OPERATOR in client.scopes and not client.redirect_uris


class OperatorAccess:
    """Admits operators to the routes of the admin API.

    Args:
        authority: verifies their tokens.
        operators: decides whether a token belongs to an operator.
    """

    def __init__(self, authority: TokenAuthority, operators: Operators) -> None:
        self._authority = authority
        self._operators = operators

    async def authorize(self, request: Request, action: str | None = None) -> Identity:
        """Return the operator who sent a request.

        Args:
            request: the request, with an access token.
            action: what the operator does, for the audit log; None if the route is :func:`audited`.

        Raises:
            OAuthError: 401 without a valid token, 403 if it does not belong to an operator (RFC 6750 section 3.1).
            Unavailable: a store cannot be read.
        """
        who = await verify_authorization(request, self._authority)
        if not await self._operators.include(who):
            _record(who, "refused", path=request.url.path)
            description = f"The admin API requires an operator's token ({OPERATOR})."
            raise OAuthError("insufficient_scope", description, 403, challenge("insufficient_scope", OPERATOR))
        if action is not None:
            _record(who, action, path=request.url.path)
        return who


@contextmanager
def audited(who: Identity, action: str, **facts: Any) -> Iterator[None]:
    """Record what an operator does, with its outcome. An invalid value becomes an OAuthError."""
    try:
        with _as_responses():
            yield
    except BaseException as error:
        if isinstance(error, OAuthError):
            _record(who, action, outcome="refused", reason=error.error, **facts)
        else:  # part of the action may have been done
            _record(who, action, outcome="failed", reason=type(error).__name__, **facts)
        raise
    _record(who, action, outcome="done", **facts)


@contextmanager
def _as_responses() -> Iterator[None]:
    """Turn the errors of invalid values into those that the API responds with."""
    try:
        yield
    except ConfigError as error:
        raise invalid_request(error) from None
    except AccountExists:
        raise OAuthError("already_exists", "An account with this name exists already.", 409) from None
    except AccountNotFound:
        raise OAuthError("not_found", "No account has this name.", 404) from None


def _record(who: Identity, action: str, **facts: Any) -> None:
    audit.record("admin", action=action, sub=who.subject, token=audit.token_name(who), **facts)
