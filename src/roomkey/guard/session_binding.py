"""Checks that the requests of a session come from its owner, because the session's ID is not a credential."""

from __future__ import annotations

from roomkey.core.credentials import Credential, Handshake, Request, find_credential
from roomkey.core.networks import network_of
from roomkey.errors import AuthError, CredentialsError, TooManyAttempts, Unavailable
from roomkey.guard.authorizer import Authorizer
from roomkey.guard.socket import ConnectionState

OWNER_SECONDS = 10.0
"""How long a request can wait for the decision whether it comes from the owner of its session."""

MAX_VERIFYING = 4
"""Requests of one session that can wait: a poll, a POST and an upgrade, and one again after a lost connection."""


class SessionBinding:
    """Binds each session to the token of the HTTP request that opened it.

    Args:
        handshake: the places of tokens in HTTP requests; None if there are none.
        authorizer: verifies the tokens of later requests.
    """

    def __init__(self, handshake: Handshake | None, authorizer: Authorizer) -> None:
        self._handshake = handshake
        self._authorizer = authorizer

    def bind(self, connection: ConnectionState) -> None:
        """Remember the token with which a session was opened."""
        try:
            connection.credential = self._presented(connection.request)
        except AuthError:
            connection.credential = None  # the CONNECT packet is refused for it

    async def is_owner(self, connection: ConnectionState, request: Request, address: str) -> bool:
        """Return True if a later HTTP request of a session comes from the client that opened it.

        If the opening request carried a token, a later one must carry the same token, or another valid one of the
        same subject. python-socketio's client sends its headers with the first request only: until a later request
        repeats the token, the network that opened the session is enough.

        Args:
            request: the part of the later request that may contain tokens.
            address: the address from which the later request comes.
        """
        decided = self.decide(connection, request, address)
        if isinstance(decided, bool):
            return decided
        opened = connection.credential
        try:
            if opened is None or not await self._verify(connection, opened, decided):
                return False
        except AuthError as error:
            connection.context.bad_tokens.count(error, address)
            return False
        connection.credential = decided
        connection.repeats_credential = True
        return True

    def decide(self, connection: ConnectionState, request: Request, address: str) -> bool | Credential:
        """Decide what :meth:`is_owner` decides, or return the token that must be verified first."""
        opened = connection.credential
        if opened is None:
            return True
        try:
            presented = self._presented(request)
        except AuthError:
            return False
        if presented is None:
            return _sends_once(opened, connection) and network_of(address) == network_of(connection.address)
        if presented.token != opened.token:
            return presented
        connection.repeats_credential = True
        return True

    def report_hijack(self, connection: ConnectionState, address: str) -> None:
        """Report a request from another client. The owner's session continues."""
        error = CredentialsError("a session ID without the session's token")
        connection.context.refusals.report(error, address)

    async def _verify(self, connection: ConnectionState, opened: Credential, presented: Credential) -> bool:
        """Verify a request's token, for a few requests at a time, and only while the session exists."""
        verifying = connection.verifying = connection.verifying or []
        if len(verifying) >= MAX_VERIFYING:
            raise TooManyAttempts("too many requests of one session wait for a verification")
        try:
            async with connection.context.background.deadline(OWNER_SECONDS) as waiting:
                verifying.append(waiting)
                try:
                    return await self._is_same_subject(connection, opened, presented)
                finally:
                    verifying.remove(waiting)
        except TimeoutError:
            raise Unavailable("the session ended, or the verification took too long") from None

    async def _is_same_subject(self, connection: ConnectionState, opened: Credential, presented: Credential) -> bool:
        who = await self._authorizer.verify(presented)
        identities = [socket.identity for socket in connection.sockets.values() if socket.live]
        known = [identity for identity in identities if identity is not None and not identity.is_guest]
        # Before CONNECT no identity is known, and two tabs may have refreshed a cookie. A ticket is only for CONNECT.
        if not known and opened.token.count(".") == 2:
            known = [await self._authorizer.verify(opened)]
        return any((one.issuer, one.subject) == (who.issuer, who.subject) for one in known)

    def _presented(self, request: Request) -> Credential | None:
        """Return the token of an HTTP request, or None."""
        return None if self._handshake is None else find_credential(self._handshake, None, request)


def _sends_once(opened: Credential, connection: ConnectionState) -> bool:
    """Return True if the client may send its headers only in the first request."""
    return opened.source == "header" and not connection.repeats_credential
