"""From a connection to an open namespace: at the handshake, by ``authenticate``, and again by a refresh."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from weakref import WeakValueDictionary

from roomkey.core.admission import Action, Admission, Input
from roomkey.core.credentials import (
    Credential,
    find_credential,
    from_event,
    missing_credential,
)
from roomkey.core.identity import GUEST, Identity
from roomkey.core.rate import TokenBucket
from roomkey.core.subject_limits import SubjectUsage
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
from roomkey.guard.owners import Owners
from roomkey.guard.registry import MAX_KEPT_AUTH, Connection, Registry
from roomkey.guard.settings import GuardSettings
from roomkey.guard.socket_authorizer import SocketAuthorizer
from roomkey.guard.teardown import Teardown

LOG = logging.getLogger("roomkey.guard")

TOKENS_PER_SECOND = 100.0
"""Tokens that one connection may present, in CONNECT packets and on its live sockets: each of them is verified."""

NO_TOKEN = Credential("", GUEST)
RunConnect = Callable[[Admission, object], Awaitable[bool]]
"""Calls the application's connect handler with the CONNECT packet's payload; False if it declines."""


class Authenticator:
    """Lets namespace connections in, or not.

    Args:
        settings: how a token is presented, and the limits until one is.
        judge: decides.
        teardown: ends what was not let in.
        rights: what whoever is in may do.
        use: what each subject has, where that is limited.
    """

    def __init__(
        self,
        settings: GuardSettings,
        judge: Authorizer,
        teardown: Teardown,
        rights: SocketAuthorizer,
        use: SubjectUsage | None,
    ) -> None:
        self.handshake, self.later = settings.handshake, settings.authenticate
        self.owners = Owners(self.handshake, judge, teardown)
        self.connect_timeout = settings.connect_timeout
        self.max_refusals = settings.max_refusals
        self.max_namespaces = settings.max_namespaces
        self.max_anonymous = settings.max_anonymous
        self.max_anonymous_packet = settings.anonymous_packet
        self.max_anonymous_body = settings.anonymous_body
        self.required = settings.required
        self._judge = judge
        self._rights = rights
        self._use = use
        self._teardown = teardown
        self._refreshing: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._registry: Registry = teardown.registry

    # Connections

    def opened(self, connection: Connection) -> bool:
        """A transport opened. Returns False if it must be refused."""
        self._teardown.home.settle_here()
        if self._registry.anonymous_from(connection.address) >= self.max_anonymous:
            self._teardown.tell_refused(TooManyAttempts("too many connections without a token"), connection)
            return False
        self.owners.bind(connection)
        connection.opened_at = self._judge.clock.monotonic()
        self._registry.open(connection)
        self._await_connect(connection, self.connect_timeout)
        return True

    def _await_connect(self, connection: Connection, seconds: float) -> None:
        self._teardown.timers.after(("connection", connection.connection_id), seconds)

    # Namespaces

    def may_ask(self, connection: Connection, namespace: str) -> bool:
        """True if the connection may ask for this namespace; a flood of requests closes it."""
        if namespace in connection.admissions:
            connection.refusals += 1
            if connection.refusals >= self.max_refusals:
                self._teardown.violation(connection, "one namespace asked for again and again")
            return False
        if len(connection.admissions) >= self.max_namespaces:
            self._teardown.violation(connection, f"more than {self.max_namespaces} namespaces")
            return False
        return not self._is_flood(connection)

    def ask(self, connection: Connection, namespace: str, sid: str) -> Admission:
        """A client asks for a namespace: it is in quarantine from here on."""
        later = self.later
        attempts = later.max_attempts if later is not None else 1
        admission = Admission(connection.connection_id, namespace, sid, max_attempts=attempts)
        self._registry.add(connection, admission)
        self._teardown.timers.cancel(("connection", connection.connection_id))
        self._teardown.timers.after(("admission", sid), self._time_left(connection))
        return admission

    def _time_left(self, connection: Connection) -> float:
        """Seconds to authenticate in. They run from the connection: no second namespace starts them anew."""
        if self.later is None:
            return self.connect_timeout
        waited = self._judge.clock.monotonic() - connection.opened_at if connection.anonymous else 0.0
        return max(0.0, self.later.timeout - waited)

    async def decide_handshake(
        self, connection: Connection, admission: Admission, auth: object, run_connect: RunConnect, *, wants_auth: bool
    ) -> AuthError | None:
        """Decide about the token of a handshake, or leave it open until ``authenticate``.

        Args:
            auth: the CONNECT packet's payload.
            run_connect: calls the application's connect handler.
            wants_auth: that handler takes the payload.

        Returns:
            Why it is refused, or None: it is admitted, or may stay in quarantine for a while.
        """
        way = self.handshake

        async def run(admission: Admission) -> bool:
            return await run_connect(admission, auth)

        presented: Credential | AuthError | None
        try:
            presented = None if way is None else find_credential(way, auth, connection.request)
        except AuthError as error:
            presented = error
        if presented is None and not self.required:
            return await self._decide(connection, admission, NO_TOKEN, run)
        if way is None or (self.later is not None and presented is None):
            return self._leave_open(connection, admission, auth if wants_auth else None)
        admission.max_attempts = 1
        return await self._decide(connection, admission, presented or missing_credential(way), run)

    def _leave_open(self, connection: Connection, admission: Admission, auth: object) -> AuthError | None:
        """Wait for ``authenticate``; only what the connect handler will be given is kept until then."""
        if not auth or connection.keep_auth(admission.namespace, auth):
            return None
        error = LimitExceeded("auth", f"more than {MAX_KEPT_AUTH} characters of auth before authentication")
        admission.feed(Input.PACKET, error)
        self._teardown.tell_refused(error, connection, admission)
        return error

    def refused(self, connection: Connection) -> None:
        """The host has answered a CONNECT with a refusal: count it, and close what nobody uses."""
        connection.refusals += 1
        if connection.refusals >= self.max_refusals or not connection.in_use:
            self._teardown.close_soon(connection)

    def left(self, admission: Admission) -> None:
        """A client left a namespace by itself: it may ask for another one, within ``connect_timeout``.

        Where nobody was ever let in, that runs from the opening: no series of short visits makes it longer.
        """
        self._teardown.forget(admission)
        connection = self._registry.connections.get(admission.connection_id)
        if connection is None or connection.closing or connection.in_use:
            return
        waited = self._judge.clock.monotonic() - connection.opened_at if admission.identity is None else 0.0
        self._await_connect(connection, max(0.0, self.connect_timeout - waited))

    # authenticate, and authenticate again

    def takes_event(self, admission: Admission) -> bool:
        """True if the event ``authenticate`` means something on this socket now."""
        return admission.admitted or (self.later is not None and admission.answered)

    async def on_event(
        self,
        connection: Connection,
        admission: Admission,
        arguments: tuple[object, ...],
        ack_id: int | None,
        run_connect: RunConnect,
    ) -> None:
        """The event ``authenticate`` arrived: the first token, or a later one for a live socket."""

        async def run(admission: Admission) -> bool:
            return await run_connect(admission, connection.take_auth(admission.namespace))

        if admission.admitted:
            if self._is_flood(connection):
                return
            turn = self._refreshing.setdefault(admission.sid, asyncio.Lock())
            async with turn:  # else each renewal would make those that wait for a rule ask it anew
                done = admission.admitted and await self._refresh(connection, admission, arguments, ack_id)
        else:
            try:
                found: Credential | AuthError = from_event(arguments, connection.request)
            except AuthError as unusable:
                found = unusable
            error = await self._decide(connection, admission, found, run, ack_id)
            done = error is None and admission.admitted
        who = admission.identity
        if not done or who is None:
            return
        told: dict[str, object] = {}
        if who.expires_at is not None:
            told["expires_in"] = max(0, int(who.expires_at - self._judge.clock.now()))
        port = self._teardown.port
        await port.send_event(admission, contract.AUTHENTICATED, told)
        if ack_id is not None:
            await port.send_ack(admission, ack_id, told)

    def _is_flood(self, connection: Connection) -> bool:
        """Count what presents a token; a flood of it closes the connection."""
        now = self._judge.clock.monotonic()
        if connection.tokens is None:
            connection.tokens = TokenBucket(max(TOKENS_PER_SECOND, 2.0 * self.max_namespaces), now)
        if connection.tokens.take(now) >= 0:
            return False
        self._teardown.violation(connection, "one token after the other")
        return True

    async def _decide(
        self,
        connection: Connection,
        admission: Admission,
        found: Credential | AuthError,
        run_connect: Callable[[Admission], Awaitable[bool]],
        ack_id: int | None = None,
    ) -> AuthError | None:
        """The one path from a presented token to an open namespace; returns why not, or None."""
        if Action.VERIFY not in admission.feed(Input.PRESENT):
            return None
        presented: Credential | None = None
        try:
            if isinstance(found, AuthError):
                raise found
            presented = found
            who = await self._judge.identify(presented, admission.namespace)
            self._count(admission, who)
        except AuthError as error:
            await self._bad_token(connection, admission, error, presented, ack_id)
            return error
        if Action.RUN_CONNECT not in admission.feed(Input.IDENTIFIED):
            return admission.ended_by or Unavailable("the decision came too late")
        admission.identity = who
        declined = await self._run_connect(admission, run_connect)
        if declined is None and Action.ANNOUNCE in admission.feed(Input.ACCEPTED):
            await self._admitted(connection, admission)
            return None if admission.live else admission.ended_by
        why = declined or admission.ended_by or Unavailable("the connect handler came back too late")
        actions = admission.feed(Input.DECLINED, why)
        if actions:
            self._teardown.tell_refused(why, connection, admission)
        if admission.opened:
            admission.opened = False
            await self._teardown.port.run_disconnect(admission)
        await self._teardown.perform(connection, admission, actions, why)
        return why

    async def _run_connect(
        self, admission: Admission, run_connect: Callable[[Admission], Awaitable[bool]]
    ) -> AuthError | None:
        try:
            if not await run_connect(admission):
                return PermissionDenied("the connect handler declined", message=contract.DECLINED)
            admission.opened = True
            if admission.identity is not None:
                self._judge.check_still_valid(admission.identity)  # the handler may have waited
        except AuthError as error:
            return error
        except Exception as error:
            LOG.exception("the connect handler failed, so the connection is refused")
            return Unavailable(f"the connect handler raised {type(error).__name__}")
        return None

    async def _admitted(self, connection: Connection, admission: Admission) -> None:
        who = admission.identity
        assert who is not None  # it is known from CONNECTING on
        if not who.is_guest:  # a guest stays one of those that an address may have only so many of
            self._registry.admitted(connection)
        self._teardown.timers.cancel(("admission", admission.sid))
        admission.attempts = 0
        admission.max_attempts = self.later.max_attempts if self.later is not None else self.max_refusals
        audit.about("admitted", admission, address=connection.address, source=who.source)
        await self._rights.begin(admission, who)

    def _count(self, admission: Admission, who: Identity) -> None:
        """Count a socket for its subject, where that is limited.

        Raises:
            LimitExceeded: the subject has too many.
        """
        if self._use is None or who.is_guest or not admission.live:
            return
        for known in self._use.connections(who):
            for other in self._on(known):
                if not other.live:  # it has ended, however long its transport and its disconnect handler take
                    self._teardown.uncount(other)
        oldest = self._use.connect(who, admission.connection_id)
        self._teardown.uncount(admission)  # a guest who presents two tokens at once counts for one of them
        admission.counted = who
        for other in self._on(oldest) if oldest is not None else ():
            error = LimitExceeded("sockets", "a newer connection took its place")
            self._teardown.end_soon(other, Input.REVOKE, error)

    def _on(self, connection_id: str) -> list[Admission]:
        connection = self._registry.connections.get(connection_id)
        return list(connection.admissions.values()) if connection is not None else []

    async def _refresh(
        self, connection: Connection, admission: Admission, arguments: tuple[object, ...], ack_id: int | None
    ) -> bool:
        """A live socket presents a later token of the same subject: its deadline moves, nothing else stops."""
        admission.feed(Input.PRESENT)
        was_guest = admission.identity is not None and admission.identity.is_guest
        presented: Credential | None = None
        try:
            self._rights.count_event(admission)
            presented = from_event(arguments, connection.request)
            new = await self._renew(admission, await self._judge.verify(presented))
        except SubjectMismatch as error:
            await self._teardown.end(admission, Input.MISMATCH, error)
            return False
        except PermissionDenied as error:
            await self._teardown.end(admission, Input.FORBID, error)
            return False
        except AuthError as error:
            if admission.identity is not None and admission.identity.is_guest:  # it takes nobody's place
                self._teardown.uncount(admission)
            await self._bad_token(connection, admission, error, presented, ack_id)
            return False
        if new is None:
            return admission.admitted
        admission.attempts = 0
        audit.about("refreshed", admission, address=connection.address, source=new.source)
        if was_guest and admission.admitted:
            self._registry.admitted(connection)
            await self._rights.begin(admission, new)
        return admission.admitted

    async def _renew(self, admission: Admission, verified: Identity) -> Identity | None:
        """Give a live socket its later token.

        Returns:
            Who it is now; None if there is nothing to renew, or it is not open any more.

        Raises:
            AuthError: why not.
        """
        while self._judge.check_refresh(admission.identity, verified):
            new = await self._judge.may_connect(verified, admission.namespace)
            if not admission.admitted:
                return None
            self._judge.check_still_valid(new)
            if admission.identity is not None and admission.identity.is_guest:
                self._count(admission, new)
            if await self._rights.renew(admission, new):
                return new
        return None

    async def _bad_token(
        self,
        connection: Connection,
        admission: Admission,
        error: AuthError,
        presented: Credential | None,
        ack_id: int | None,
    ) -> None:
        """Count a refused token, tell whoever wants to know, and do what follows."""
        if connection.anonymous and not error.temporary:  # another namespace of the connection brings no new attempts
            admission.attempts = connection.bad_tokens
            connection.bad_tokens += 1
        actions = admission.bad_token(error)
        self._teardown.tell_refused(error, connection, admission, presented.token if presented is not None else None)
        if ack_id is not None and actions:
            await self._teardown.port.send_ack(admission, ack_id, contract.rejected(error.to_client()))
        await self._teardown.perform(connection, admission, actions, error)
