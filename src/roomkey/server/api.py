"""The admin API: accounts, revocation, sockets and rooms, for operators and their scripts. Off unless it is asked for.

Every route wants an operator's access token (:mod:`roomkey.server.operators`) and writes a line to the audit log. A
socket is named by a hash of its id, since whoever has the id itself may continue a polling session.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal

from roomkey.extras import needs

with needs("server", "roomkey.server.api"):
    from fastapi import APIRouter, Request, Security
    from fastapi.responses import Response
    from pydantic import BaseModel, ConfigDict, Field

from roomkey import audit
from roomkey.auth import LoginService
from roomkey.auth.http import (
    ACCESS_TOKEN,
    OAuthError,
    body_schema,
    challenge,
    error_responses,
    get_and_head,
    invalid_request,
    json_response,
    oauth_errors,
    parse_body,
    verify_authorization,
)
from roomkey.core.identity import Identity
from roomkey.core.issuer import MAX_TOKEN_LIFETIME
from roomkey.core.names import OPERATOR
from roomkey.errors import ConfigError
from roomkey.guard.guard import Guard, LiveSocket
from roomkey.server.chat import SocketServer
from roomkey.server.operators import Operators
from roomkey.stores import Account, AccountExists, AccountNotFound, Clients, ManagedAccounts

__all__ = ["SCOPE", "admin_router"]

SCOPE = OPERATOR

Names = Annotated[list[str], Field(max_length=1000)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class User(BaseModel):
    """An account, without its password."""

    model_config = ConfigDict(from_attributes=True)

    username: str
    name: str
    roles: list[str]
    rooms: list[str]
    disabled: bool
    created_at: int


class UserList(BaseModel):
    """Every account, by name."""

    users: list[User]


class NewUser(_Body):
    """An account to add."""

    username: str
    password: str = Field(json_schema_extra={"format": "password"})
    name: str = ""
    roles: Names = []
    rooms: Names = []


class ChangedUser(_Body):
    """What is to be changed; what is left out stays."""

    roles: Names | None = None
    rooms: Names | None = None
    disabled: bool | None = None
    password: str | None = Field(None, json_schema_extra={"format": "password"})


class Revocation(_Body):
    """Exactly one of token_id, session_id and subject."""

    token_id: str | None = Field(None, min_length=1)
    session_id: str | None = Field(None, min_length=1)
    subject: str | None = Field(None, min_length=1)
    issued_before: float | None = Field(None, description="with subject: seconds since the epoch, not in the future")
    expires_at: float | None = Field(
        None,
        description="the latest exp of these tokens, in seconds since the epoch: the revocation is kept until then; "
        f"for {MAX_TOKEN_LIFETIME // 86400} days if absent, so that it is needed where a token lives longer",
    )


class Message(_Body):
    """An event for everybody in a room."""

    room: str = Field(min_length=1)
    event: str = Field(min_length=1)
    data: Any = None
    namespace: str = "/"


class Count(BaseModel):
    """How many live sockets it was about."""

    sockets: int


class SocketEntry(BaseModel):
    """A live socket."""

    id: str = Field(description="names it in this API, and opens nothing")
    subject: str
    namespace: str
    rooms: list[str]
    address: str
    session_id: str | None = None
    expires_at: float | None = None


class SocketList(BaseModel):
    """Live sockets."""

    sockets: list[SocketEntry]


class RoomEntry(BaseModel):
    """A room that the policy has let somebody into."""

    namespace: str
    room: str
    sockets: int


class RoomList(BaseModel):
    """Rooms with somebody in them."""

    rooms: list[RoomEntry]


class Done(BaseModel):
    """It is done."""

    status: Literal["ok"] = "ok"


def admin_router(
    logins: LoginService,
    accounts: ManagedAccounts,
    guard: Guard,
    sio: SocketServer,
    *,
    clients: Clients | None = None,
    prefix: str = "/api",
) -> APIRouter:
    """The routes.

    Args:
        logins: ends the logins of accounts that are disabled.
        accounts: who may log in.
        guard: has the live sockets.
        sio: emits.
        clients: services that may be operators; none if absent.
        prefix: the path in front of them.
    """
    desk = _Desk(guard, Operators(logins.issuer.issuer, accounts, clients))
    routes = APIRouter(
        prefix=prefix,
        tags=["administration"],
        dependencies=[Security(ACCESS_TOKEN, scopes=[SCOPE])],
        responses=error_responses(401, 403),
    )
    _add_users(routes, desk, logins, accounts)
    _add_revocation(routes, desk, logins)
    _add_sockets(routes, desk, sio)
    return routes


class _Desk:
    """Where operators show their tokens.

    Args:
        guard: verifies them.
        operators: decides whose they are.
    """

    def __init__(self, guard: Guard, operators: Operators) -> None:
        self.guard = guard
        self._operators = operators

    async def operator(self, request: Request, action: str | None) -> Identity:
        """Return who asks, if they may.

        Args:
            action: what they do, for the audit log; None if the route writes its own line.

        Raises:
            OAuthError: 401 without a good token, 403 if it is not an operator's (RFC 6750 section 3.1).
            Unavailable: nobody can say.
        """
        who = await verify_authorization(request, self.guard)
        if not await self._operators.include(who):
            _record(who, "refused", path=request.url.path)
            description = f"The admin API requires an operator's token ({SCOPE})."
            raise OAuthError("insufficient_scope", description, 403, challenge("insufficient_scope", SCOPE))
        if action is not None:
            _record(who, action, path=request.url.path)
        return who


def _add_users(routes: APIRouter, desk: _Desk, logins: LoginService, accounts: ManagedAccounts) -> None:
    @get_and_head(routes, "/users", summary="List the accounts", response_model=UserList)
    @oauth_errors
    async def users(request: Request) -> Response:
        await desk.operator(request, "list users")
        return json_response(UserList(users=[User.model_validate(account) for account in await accounts.all()]))

    @routes.post("/users", summary="Add an account", status_code=201, response_model=User, **_reads(NewUser, 409))
    @oauth_errors
    async def add_user(request: Request) -> Response:
        who = await desk.operator(request, None)
        new = await parse_body(request, NewUser, "Send username and password, perhaps name, roles and rooms.")
        with _deed(who, "add user", subject=new.username):
            hashed = await logins.passwords.hash(new.password)
            account = Account(new.username, hashed, tuple(new.roles), tuple(new.rooms), name=new.name)
            await accounts.add(account)
        kept = await accounts.find(new.username)
        return json_response(User.model_validate(kept or account), 201)

    @routes.patch(
        "/users/{username}",
        summary="Change an account; its live sockets follow",
        response_model=Count,
        **_reads(ChangedUser, 404),
    )
    @oauth_errors
    async def change_user(request: Request, username: str) -> Response:
        who = await desk.operator(request, None)
        changed = await parse_body(request, ChangedUser, "Send roles, rooms, disabled or password.")
        with _deed(who, "change user", subject=username, changed=sorted(changed.model_fields_set)):
            return json_response(Count(sockets=await _change(username, changed, logins, accounts, desk.guard)))


async def _change(
    username: str, changed: ChangedUser, logins: LoginService, accounts: ManagedAccounts, guard: Guard
) -> int:
    account = await accounts.find(username)
    if account is None:
        raise AccountNotFound(username)
    # What can be refused comes first: a request that is refused has changed nothing.
    hashed = None if changed.password is None else await logins.passwords.hash(changed.password)
    sockets = 0
    if changed.roles is not None or changed.rooms is not None:
        await accounts.set_rights(username, roles=changed.roles, rooms=changed.rooms)
        sockets = await guard.update(username, roles=changed.roles, rooms=changed.rooms)
    if hashed is not None:
        await accounts.set_password(username, hashed)
    if changed.disabled is not None:
        await accounts.set_disabled(username, changed.disabled)
    if changed.disabled or changed.password is not None:
        sockets = await logins.logout_all(username)
    return sockets


def _add_revocation(routes: APIRouter, desk: _Desk, logins: LoginService) -> None:
    guard = desk.guard
    summary = "Revoke a token, a login or everything of a subject"

    @routes.post("/revoke", summary=summary, response_model=Count, **_reads(Revocation))
    @oauth_errors
    async def revoke(request: Request) -> Response:
        who = await desk.operator(request, None)
        asked = await parse_body(request, Revocation, "Send exactly one of token_id, session_id and subject.")
        with _deed(who, "revoke", **asked.model_dump(exclude_none=True)):
            until = _until(asked, guard.clock.now())
            sockets = await guard.revoke(**asked.model_dump(exclude={"expires_at"}), expires_at=until)
            return json_response(Count(sockets=sockets))


def _until(asked: Revocation, now: float) -> float:
    """Until when a revocation is kept.

    Raises:
        ConfigError: a time that is over, at which nothing would be revoked.
    """
    if asked.expires_at is None:
        return now + MAX_TOKEN_LIFETIME
    if asked.expires_at <= now:
        raise ConfigError("expires_at lies in the past")
    return asked.expires_at


def _add_sockets(routes: APIRouter, desk: _Desk, sio: SocketServer) -> None:
    guard = desk.guard

    @get_and_head(routes, "/sockets", summary="List live sockets", response_model=SocketList)
    @oauth_errors
    async def sockets(request: Request, subject: str | None = None) -> Response:
        await desk.operator(request, "list sockets")
        return json_response(SocketList(sockets=[_socket(one) for one in guard.sockets(subject)]))

    @routes.post(
        "/sockets/{id}/disconnect",
        summary="Disconnect a socket; its client does not come back by itself",
        response_model=Done,
        responses=error_responses(404),
    )
    @oauth_errors
    async def disconnect(request: Request, id: str) -> Response:
        who = await desk.operator(request, None)
        with _deed(who, "disconnect", socket=id):
            for socket in guard.sockets():
                if _handle(socket.sid) == id:
                    await sio.disconnect(socket.sid, namespace=socket.namespace)
                    return json_response(Done())
            raise OAuthError("not_found", "There is no such socket.", 404)

    @get_and_head(routes, "/rooms", summary="List rooms", response_model=RoomList)
    @oauth_errors
    async def rooms(request: Request) -> Response:
        await desk.operator(request, "list rooms")
        counts = Counter((socket.namespace, room) for socket in guard.sockets() for room in socket.rooms)
        entries = [RoomEntry(namespace=where, room=room, sockets=count) for (where, room), count in counts.items()]
        return json_response(RoomList(rooms=sorted(entries, key=lambda entry: (entry.namespace, entry.room))))

    @routes.post("/emit", summary="Send an event to a room", response_model=Done, **_reads(Message))
    @oauth_errors
    async def emit(request: Request) -> Response:
        who = await desk.operator(request, None)
        message = await parse_body(request, Message, "Send room and event, perhaps data and namespace.")
        with _deed(who, "emit", room=message.room, name=message.event, namespace=message.namespace):
            try:
                await sio.emit(message.event, message.data, room=message.room, namespace=message.namespace)
            except (TypeError, ValueError, RecursionError):
                raise OAuthError("invalid_request", "The data cannot be sent.") from None
        return json_response(Done())


def _reads(body: type[BaseModel], *statuses: int) -> dict[str, Any]:
    """What the document says of a route with a body: the body, and its errors beside those that every route has."""
    return {"openapi_extra": body_schema(body), "responses": error_responses(400, 413, *statuses)}


@contextmanager
def _deed(who: Identity, action: str, **facts: Any) -> Iterator[None]:
    """What an operator does: an audit line says what became of it, and what it is refused for becomes an answer."""
    try:
        with _refusing():
            yield
    except BaseException as error:
        if isinstance(error, OAuthError):
            _record(who, action, outcome="refused", reason=error.error, **facts)
        else:  # what was begun may have been done in part
            _record(who, action, outcome="failed", reason=type(error).__name__, **facts)
        raise
    _record(who, action, outcome="done", **facts)


@contextmanager
def _refusing() -> Iterator[None]:
    """What a value is refused for becomes an answer."""
    try:
        yield
    except ConfigError as error:
        raise invalid_request(error) from None
    except AccountExists:
        raise OAuthError("already_exists", "There is an account of this name.", 409) from None
    except AccountNotFound:
        raise OAuthError("not_found", "There is no account of this name.", 404) from None


def _record(who: Identity, action: str, **facts: Any) -> None:
    audit.record("admin", action=action, sub=who.subject, token=audit.token_name(who), **facts)


def _socket(socket: LiveSocket) -> SocketEntry:
    who = socket.identity
    return SocketEntry(
        id=_handle(socket.sid),
        subject=who.subject,
        namespace=socket.namespace,
        rooms=sorted(socket.rooms),
        address=socket.address,
        session_id=who.session_id,
        expires_at=who.expires_at,
    )


def _handle(sid: str) -> str:
    return hashlib.sha256(sid.encode()).hexdigest()[:32]
