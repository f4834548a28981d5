"""Admission of sockets by their tokens: at the handshake, by ``authenticate``, and by a renewal."""

from __future__ import annotations

import logging

from roomkey.core.admission import AdmissionEvent
from roomkey.core.credentials import Credential, find_credential, from_event, missing_credential
from roomkey.core.identity import GUEST, Identity
from roomkey.errors import (
    AuthError,
    LimitExceeded,
    PermissionDenied,
    SubjectMismatch,
    TooManyAttempts,
    Unavailable,
)
from roomkey.guard import audit, contract
from roomkey.guard.authorizer import Authorizer
from roomkey.guard.host import SERVER_DISCONNECT
from roomkey.guard.limits import ConnectionLimit
from roomkey.guard.payloads import MAX_KEPT_AUTH
from roomkey.guard.socket import GuardContext, GuardedSocket
from roomkey.guard.socket_authorizer import SocketAuthorizer

LOG = logging.getLogger("roomkey.guard")

NO_TOKEN = Credential("", GUEST)

# An Enum's members are slow to look up by its name.
_PRESENT, _IDENTIFIED, _ACCEPTED = AdmissionEvent.PRESENT, AdmissionEvent.IDENTIFIED, AdmissionEvent.ACCEPTED


class Authenticator:
    """Admits or refuses sockets, and renews them.

    Args:
        authorizer: decides.
        socket_authorizer: decides what a connected socket can do.
        context: what all sockets share, and the settings: how a token is presented.

    Attributes:
        max_attempts: the number of rejected tokens that ends a new socket.
        limit: counts the connections of each subject.
    """

    def __init__(self, authorizer: Authorizer, socket_authorizer: SocketAuthorizer, context: GuardContext) -> None:
        settings, later = context.settings, context.settings.authenticate
        self._handshake, self._later = settings.handshake, later
        self._authorizer = authorizer
        self._socket_authorizer = socket_authorizer
        self._context = context
        self.limit = ConnectionLimit(context)
        self._required = settings.required
        self.max_attempts = later.max_attempts if later is not None else 1
        self._max_renewals = later.max_attempts if later is not None else settings.max_refusals

    # CONNECT

    async def decide_connect(self, socket: GuardedSocket, payload: object) -> AuthError | None:
        """Decide about the token of a CONNECT, or wait for ``authenticate``.

        Args:
            payload: of the CONNECT packet.

        Returns:
            The error if the socket is refused; None if it is admitted or waits in quarantine.
        """
        way, presented = self._handshake, None
        try:
            presented = None if way is None else find_credential(way, payload, socket.connection.request)
        except AuthError as error:
            socket.max_attempts = 1
            return await self._decide(socket, error, payload)
        if presented is None and not self._required:
            return await self._decide(socket, NO_TOKEN, payload)
        if way is None or (self._later is not None and presented is None):
            return self._leave_open(socket, payload)
        socket.max_attempts = 1
        return await self._decide(socket, presented or missing_credential(way), payload)

    def _leave_open(self, socket: GuardedSocket, payload: object) -> AuthError | None:
        """Wait for ``authenticate``, and keep the payload if the connect handler has a parameter for it."""
        if not payload or not socket.host.takes_payload() or socket.connection.keep_auth(socket.namespace, payload):
            return None
        error = LimitExceeded("auth", f"more than {MAX_KEPT_AUTH} characters of auth before authentication")
        socket.handle(AdmissionEvent.PACKET, error)
        self._context.refusals.report(error, socket.connection.address, socket)
        return error

    # authenticate, the first time and again

    def accepts_authenticate(self, socket: GuardedSocket) -> bool:
        """Return True if the guard handles the event ``authenticate`` on this socket now."""
        return socket.admitted or (self._later is not None and socket.connect_sent)

    async def authenticate(self, socket: GuardedSocket, arguments: tuple[object, ...], ack_id: int | None) -> None:
        """Handle the event ``authenticate``: the first token, or a newer one for a connected socket."""
        connection = socket.connection
        if socket.admitted:
            if not connection.accepts_token():
                return
            socket.renewing = socket.renewing or self._context.background.lock()
            async with socket.renewing:  # otherwise each renewal would make those that wait for a rule ask it again
                done = socket.admitted and await self._renew(socket, arguments, ack_id)
        else:
            try:
                found: Credential | AuthError = from_event(arguments, connection.request)
            except AuthError as unusable:
                found = unusable
            error = await self._decide(socket, found, None, ack_id)
            done = error is None and socket.admitted
        who = socket.identity
        if not done or who is None:
            return
        told: dict[str, object] = {}
        if who.expires_at is not None:
            told["expires_in"] = max(0, int(who.expires_at - self._context.clock.now()))
        await socket.host.send_event(contract.AUTHENTICATED, told)
        if ack_id is not None:
            await socket.host.send_ack(ack_id, told)

    # The decision

    async def _decide(
        self, socket: GuardedSocket, found: Credential | AuthError, payload: object, ack_id: int | None = None
    ) -> AuthError | None:
        """Verify a token and admit the socket: the only path to admission. Return the error, or None."""
        if not socket.handle(_PRESENT):
            return None
        presented: Credential | None = None
        try:
            if isinstance(found, AuthError):
                raise found
            presented = found
            who = await self._authorizer.identify(presented, socket.namespace)
            if self._context.usage is not None and await self.limit.count(socket, who):
                who = await self._authorizer.may_connect(who, socket.namespace)
        except AuthError as error:
            return await self._reject(socket, error, presented, ack_id)
        if not socket.handle(_IDENTIFIED):
            return socket.ended_by or Unavailable("the decision took too long")
        self._context.index.identify(socket, who)
        socket.handler_runs = True
        try:
            declined = await self._call_connect(socket, who, payload)
            if declined is not None or not socket.handle(_ACCEPTED):
                return await self._decline(socket, declined)
        finally:
            socket.handler_runs = False
            if socket.connection.sockets.get(socket.namespace) is not socket:  # it has left, or lost its connection
                socket.forget()
        await self._admit(socket)
        return socket.ended_by  # a rule or a revocation may have been faster

    async def _decline(self, socket: GuardedSocket, declined: AuthError | None) -> AuthError:
        """Refuse a socket after its connect handler, and call the disconnect handler if that had accepted."""
        why = declined or socket.ended_by or Unavailable("the connect handler took too long")
        actions = socket.handle(AdmissionEvent.DECLINED, why)
        if actions:
            self._context.refusals.report(why, socket.connection.address, socket)
        await socket.call_disconnect(SERVER_DISCONNECT)
        await socket.carry_out(actions, why)
        return why

    async def _call_connect(self, socket: GuardedSocket, who: Identity, payload: object) -> AuthError | None:
        if socket.connect_sent:  # the payload was kept until now
            payload = socket.connection.take_auth(socket.namespace)
        try:
            declined = await socket.host.call_connect(payload)
            if declined is not None:
                return declined
            socket.handler_accepted = True
            self._authorizer.check_still_valid(socket.identity or who)  # the handler may have waited
        except AuthError as error:
            return error
        except Exception as error:
            LOG.exception("refused a connection: the connect handler failed")
            return Unavailable(f"the connect handler raised {type(error).__name__}")
        return None

    async def _admit(self, socket: GuardedSocket) -> None:
        who, connection = socket.identity, socket.connection
        assert who is not None  # it is known from CONNECTING on
        connection.host.on_admitted()
        socket.attempts = 0
        socket.max_attempts = self._max_renewals
        self._context.admitted += 1
        audit.about("admitted", socket, address=connection.address, source=who.source)
        await self._socket_authorizer.begin(socket, who)

    async def _renew(self, socket: GuardedSocket, arguments: tuple[object, ...], ack_id: int | None) -> bool:
        """Renew a connected socket with a newer token of the same subject, without interrupting it."""
        connection = socket.connection
        was_guest = socket.identity is not None and socket.identity.is_guest
        presented: Credential | None = None
        verified: Identity | None = None
        try:
            self._socket_authorizer.count_event(socket)
            presented = from_event(arguments, connection.request)
            verified = await self._authorizer.verify(presented)
            new = await self._replace_identity(socket, verified)
        except (SubjectMismatch, PermissionDenied) as error:
            mismatch = isinstance(error, SubjectMismatch)
            socket.end(AdmissionEvent.MISMATCH if mismatch else AdmissionEvent.FORBID, error)
            return False
        except AuthError as error:
            if socket.identity is not None and socket.identity.is_guest:  # it takes nobody's place
                socket.uncount()
            await self._reject(socket, error, presented, ack_id, is_valid=verified is not None)
            return False
        if new is None:
            return socket.admitted
        socket.attempts = 0
        audit.about("refreshed", socket, address=connection.address, source=new.source)
        if was_guest and socket.admitted:
            await self._socket_authorizer.begin(socket, new)
        return socket.admitted

    async def _replace_identity(self, socket: GuardedSocket, verified: Identity) -> Identity | None:
        """Give a connected socket its newer token.

        Returns:
            The new identity; None if nothing has changed, or the socket is no longer admitted.

        Raises:
            AuthError: the token cannot renew this socket.
        """
        while self._authorizer.check_renewal(socket.identity, verified):
            new = await self._authorizer.may_connect(verified, socket.namespace)
            if not socket.admitted:
                return None
            self._authorizer.check_still_valid(new)
            if socket.identity is not None and socket.identity.is_guest and await self.limit.count(socket, new):
                continue  # other nodes were asked, and anything may have changed; it is counted now
            if await self._socket_authorizer.renew(socket, new):
                return new
        return None

    async def _reject(
        self,
        socket: GuardedSocket,
        error: AuthError,
        presented: Credential | None,
        ack_id: int | None,
        *,
        is_valid: bool = False,
    ) -> AuthError:
        """Count and report a rejected token, and close the connection if it was the last attempt.

        Args:
            is_valid: the token is valid, but cannot renew the socket.

        Returns:
            The error for the client.
        """
        connection, context = socket.connection, self._context
        is_told = True
        if not is_valid:
            error, is_told = context.bad_tokens.count(error, connection.address)
        if isinstance(error, TooManyAttempts) and connection.anonymous:
            socket.max_attempts = 1
        if connection.anonymous and not error.temporary:  # another namespace of the connection brings no new attempts
            socket.attempts = connection.bad_tokens
            connection.bad_tokens += 1
        actions = socket.reject_token(error)
        if is_told:
            token = presented.token if presented is not None else None
            context.refusals.report(error, connection.address, socket, token)
        else:
            context.refusals.count(error)
        if ack_id is not None and actions:
            await socket.host.send_ack(ack_id, contract.rejected(error.to_client()))
        await socket.carry_out(actions, error)
        return error
