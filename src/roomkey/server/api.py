"""The admin API: accounts, revocation, sockets and rooms, for operators and their scripts. It is off by default.

Every route requires an operator's access token (:mod:`roomkey.server.operators`) and writes a line to the audit log. A
socket is identified by a hash of its ID, because the ID itself is a credential for a polling session.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any

from roomkey.extras import needs

with needs("server", "roomkey.server.api"):
    from fastapi import APIRouter, Request, Security
    from fastapi.responses import Response
    from pydantic import BaseModel

from roomkey.auth import LoginService
from roomkey.auth.ending import last_expiry
from roomkey.auth.http import (
    ACCESS_TOKEN,
    OAuthError,
    body_schema,
    error_responses,
    get_and_head,
    json_response,
    oauth_errors,
    parse_body,
)
from roomkey.core.names import OPERATOR
from roomkey.errors import ConfigError, Unavailable
from roomkey.guard.guard import AsyncioGuard
from roomkey.guard.live_sockets import LiveSocket
from roomkey.server.api_models import (
    Done,
    EmitRequest,
    NewUser,
    RevocationRequest,
    RoomEntry,
    RoomList,
    SocketCount,
    SocketEntry,
    SocketList,
    UserChanges,
    UserEntry,
    UserList,
)
from roomkey.server.chat import SocketServer
from roomkey.server.operators import OperatorAccess, Operators, audited
from roomkey.stores import Account, AccountNotFound, Clients, ManagedAccounts

__all__ = ["SCOPE", "admin_router"]

SCOPE = OPERATOR


def admin_router(
    logins: LoginService,
    accounts: ManagedAccounts,
    guard: AsyncioGuard,
    sio: SocketServer,
    *,
    clients: Clients | None = None,
    prefix: str = "/api",
) -> APIRouter:
    """Return the routes.

    Args:
        logins: hashes passwords, and ends the logins of disabled accounts.
        accounts: the accounts to manage.
        guard: verifies operators' tokens, revokes tokens and lists connected sockets.
        sio: emits events and disconnects sockets.
        clients: services that can be operators. By default, none.
        prefix: the path before the routes.
    """
    access = OperatorAccess(guard, Operators(logins.issuer.issuer, accounts, clients))
    routes = APIRouter(
        prefix=prefix,
        tags=["administration"],
        dependencies=[Security(ACCESS_TOKEN, scopes=[SCOPE])],
        responses=error_responses(401, 403),
    )
    _add_users(routes, access, logins, accounts, guard)
    _add_revocation(routes, access, guard)
    _add_sockets(routes, access, guard, sio)
    _add_rooms(routes, access, guard, sio)
    return routes


def _add_users(
    routes: APIRouter, access: OperatorAccess, logins: LoginService, accounts: ManagedAccounts, guard: AsyncioGuard
) -> None:
    @get_and_head(routes, "/users", summary="List the accounts", response_model=UserList)
    @oauth_errors
    async def users(request: Request) -> Response:
        await access.authorize(request, "list users")
        return json_response(UserList(users=[UserEntry.model_validate(one) for one in await accounts.all()]))

    @routes.post("/users", summary="Add an account", status_code=201, response_model=UserEntry, **_body(NewUser, 409))
    @oauth_errors
    async def add_user(request: Request) -> Response:
        who = await access.authorize(request)
        new = await parse_body(request, NewUser, "Send username and password, and optionally name, roles and rooms.")
        with audited(who, "add user", subject=new.username):
            hashed = await logins.passwords.hash(new.password)
            account = Account(new.username, hashed, tuple(new.roles), tuple(new.rooms), name=new.name)
            await accounts.add(account)
        kept = await accounts.find(new.username)
        return json_response(UserEntry.model_validate(kept or account), 201)

    @routes.patch(
        "/users/{username}",
        summary="Change an account, and update its connected sockets",
        response_model=SocketCount,
        **_body(UserChanges, 404),
    )
    @oauth_errors
    async def change_user(request: Request, username: str) -> Response:
        who = await access.authorize(request)
        changes = await parse_body(request, UserChanges, "Send roles, rooms, disabled or password.")
        with audited(who, "change user", subject=username, changed=sorted(changes.model_fields_set)):
            return json_response(SocketCount(sockets=await _change(username, changes, logins, accounts, guard)))


async def _change(
    username: str, changes: UserChanges, logins: LoginService, accounts: ManagedAccounts, guard: AsyncioGuard
) -> int:
    """Change an account. Returns the number of sockets that were updated or disconnected."""
    account = await accounts.find(username)
    if account is None:
        raise AccountNotFound(username)
    # Check everything first: a rejected request must not change anything.
    hashed = None if changes.password is None else await logins.passwords.hash(changes.password)
    sockets = 0
    if changes.roles is not None or changes.rooms is not None:
        await accounts.set_rights(username, roles=changes.roles, rooms=changes.rooms)
        sockets = await guard.update(username, roles=changes.roles, rooms=changes.rooms)
    if hashed is not None:
        await accounts.set_password(username, hashed)
    if changes.disabled is not None:
        await accounts.set_disabled(username, changes.disabled)
    if changes.disabled or changes.password is not None:
        sockets = await logins.logout_all(username)
    return sockets


def _add_revocation(routes: APIRouter, access: OperatorAccess, guard: AsyncioGuard) -> None:
    @routes.post(
        "/revoke",
        summary="Revoke a token, a login session or all tokens of a subject",
        response_model=SocketCount,
        **_body(RevocationRequest),
    )
    @oauth_errors
    async def revoke(request: Request) -> Response:
        who = await access.authorize(request)
        names = await parse_body(request, RevocationRequest, "Send exactly one of token_id, session_id and subject.")
        with audited(who, "revoke", **names.model_dump(exclude_none=True)):
            until = _kept_until(names.expires_at, guard.clock.now())
            sockets = await guard.revoke(**names.model_dump(exclude={"expires_at"}), expires_at=until)
            return json_response(SocketCount(sockets=sockets))


def _kept_until(expires_at: float | None, now: float) -> float:
    """Return the time until which a revocation is kept, in seconds since the epoch.

    Raises:
        ConfigError: the time is in the past, so that nothing would be revoked.
    """
    if expires_at is None:
        return last_expiry(now)
    if expires_at <= now:
        raise ConfigError("expires_at is in the past; pass a future time")
    return expires_at


def _add_sockets(routes: APIRouter, access: OperatorAccess, guard: AsyncioGuard, sio: SocketServer) -> None:
    @get_and_head(routes, "/sockets", summary="List connected sockets", response_model=SocketList)
    @oauth_errors
    async def sockets(request: Request, subject: str | None = None) -> Response:
        await access.authorize(request, "list sockets")
        found = await guard.find_sockets(subject)
        entries = [_entry(socket) for socket in found]
        return json_response(SocketList(sockets=entries, complete=found.complete, missing=sorted(found.missing)))

    @routes.post(
        "/sockets/{id}/disconnect",
        summary="Disconnect a socket; its client does not reconnect automatically",
        response_model=Done,
        responses=error_responses(404),
    )
    @oauth_errors
    async def disconnect(request: Request, id: str) -> Response:
        who = await access.authorize(request)
        with audited(who, "disconnect", socket=id):
            found = await guard.find_sockets()
            for socket in found:
                if _public_id(socket.sid) == id:
                    await sio.disconnect(socket.sid, namespace=socket.namespace)
                    return json_response(Done())
            if not found.complete:
                raise Unavailable("a node did not say which sockets it has")
            raise OAuthError("not_found", "There is no such socket.", 404)

    @routes.post(
        "/subjects/{subject}/disconnect",
        summary="Disconnect all sockets of a subject, on all nodes; its tokens stay valid",
        response_model=SocketCount,
        responses=error_responses(400),
    )
    @oauth_errors
    async def disconnect_subject(request: Request, subject: str) -> Response:
        who = await access.authorize(request)
        with audited(who, "disconnect", subject=subject):
            return json_response(SocketCount(sockets=await guard.disconnect(subject=subject)))


def _add_rooms(routes: APIRouter, access: OperatorAccess, guard: AsyncioGuard, sio: SocketServer) -> None:
    @get_and_head(routes, "/rooms", summary="List rooms", response_model=RoomList)
    @oauth_errors
    async def rooms(request: Request) -> Response:
        await access.authorize(request, "list rooms")
        found = await guard.find_sockets()
        counts = Counter((socket.namespace, room) for socket in found for room in socket.rooms)
        entries = [RoomEntry(namespace=where, room=room, sockets=count) for (where, room), count in counts.items()]
        entries.sort(key=lambda entry: (entry.namespace, entry.room))
        return json_response(RoomList(rooms=entries, complete=found.complete, missing=sorted(found.missing)))

    @routes.post("/emit", summary="Send an event to a room", response_model=Done, **_body(EmitRequest))
    @oauth_errors
    async def emit(request: Request) -> Response:
        who = await access.authorize(request)
        new = await parse_body(request, EmitRequest, "Send room and event, and optionally data and namespace.")
        with audited(who, "emit", room=new.room, name=new.event, namespace=new.namespace):
            try:
                await sio.emit(new.event, new.data, room=new.room, namespace=new.namespace)
            except (TypeError, ValueError, RecursionError):
                raise OAuthError("invalid_request", "The data cannot be sent.") from None
        return json_response(Done())


def _body(model: type[BaseModel], *statuses: int) -> dict[str, Any]:
    """Return the OpenAPI options of a route with a body: the body and its errors."""
    return {"openapi_extra": body_schema(model), "responses": error_responses(400, 413, *statuses)}


def _entry(socket: LiveSocket) -> SocketEntry:
    who = socket.identity
    return SocketEntry(
        id=_public_id(socket.sid),
        subject=who.subject,
        namespace=socket.namespace,
        rooms=sorted(socket.rooms),
        address=socket.address,
        node=socket.node or None,
        session_id=who.session_id,
        expires_at=who.expires_at,
    )


def _public_id(sid: str) -> str:
    return hashlib.sha256(sid.encode()).hexdigest()[:32]
