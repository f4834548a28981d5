"""Who may use the admin API."""

from __future__ import annotations

from roomkey.auth.client_auth import is_enabled
from roomkey.auth.issued_tokens import OWN_CLIENT
from roomkey.core.identity import Identity
from roomkey.core.names import OPERATOR
from roomkey.stores import Accounts, Clients

__all__ = ["Operators"]


class Operators:
    """Decides whether a token is an operator's, by who asked for it.

    - A token that names no client was made with the server's key: it needs the scope ``roomkey:admin``.
    - The token of a person's own login: the account has the role ``roomkey:admin`` now.
    - A service's own token: it needs the scope, and the client has it now.
    - A token that a person gave to an application never counts, whatever it carries.

    Args:
        issuer: ``iss`` of this server's tokens: a guard may accept those of others besides.
        accounts: people, with the roles they have now.
        clients: services; None if there are none.
    """

    def __init__(self, issuer: str | None, accounts: Accounts, clients: Clients | None) -> None:
        self._issuer = issuer
        self._accounts = accounts
        self._clients = clients

    async def include(self, who: Identity) -> bool:
        """Return True for an operator.

        Raises:
            Unavailable: the accounts or the clients are out of reach.
        """
        if who.issuer != self._issuer:
            return False
        client_id = who.claim("client_id")
        if client_id == OWN_CLIENT:
            return await self._is_person(who.subject)
        if not who.has_scope(OPERATOR):
            return False
        return client_id is None or (client_id == who.subject and await self._is_service(client_id))

    async def _is_person(self, username: str) -> bool:
        account = await self._accounts.find(username)
        return account is not None and not account.disabled and OPERATOR in account.roles

    async def _is_service(self, client_id: str) -> bool:
        client = None if self._clients is None else await self._clients.find(client_id)
        # Where people can log in, the client's name might as well be a person's.
        return client is not None and is_enabled(client) and OPERATOR in client.scopes and not client.redirect_uris
