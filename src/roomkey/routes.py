"""Tokens for the routes of any asyncio web framework, with the verifier and the revocations of its sockets.

::

    tokens = RoomKey(guard)
    try:
        who = await tokens.identity(request.headers.items(), role="editor")
    except RouteError as error:
        return respond(error.status, error.headers, error.body)  # in the words of the framework

For FastAPI and Starlette, :mod:`roomkey.fastapi` and :mod:`roomkey.starlette` do the rest, too.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Protocol

from roomkey.audit import redact_logs
from roomkey.core.credentials import Handshake, find_credential, missing_credential
from roomkey.core.http_tokens import error_response, route_request
from roomkey.core.identity import Identity
from roomkey.core.origins import allowed_origins as parse_origins
from roomkey.core.requirements import Requirement
from roomkey.errors import AuthError, ConfigError
from roomkey.guard.base import BaseGuard
from roomkey.guard.guard import AsyncioGuard
from roomkey.guard.settings import AnyVerifier

__all__ = ["Handshake", "RoomKey", "RouteError"]


class TokenAuthority(Protocol):
    """Verifies tokens and checks revocations. Every asyncio guard is one."""

    def verify(self, token: str, *, source: str = "") -> Awaitable[Identity]:
        """Return the identity of a token, or raise one :class:`roomkey.AuthError`."""


class HasGuard(Protocol):
    """A server with a guard, such as the hub."""

    @property
    def guard(self) -> TokenAuthority:
        """The guard."""


AnyGuard = TokenAuthority | HasGuard | AnyVerifier


class RouteError(Exception):
    """Raised when a request has no valid token, or its user lacks a right (RFC 6750 section 3).

    Attributes:
        error: the reason.
        status: the HTTP status of the response: 401, 403 or 503.
        headers: its headers: ``WWW-Authenticate`` or ``Retry-After``.
        body: the members of its JSON body: ``error`` and ``error_description``.
    """

    def __init__(self, error: AuthError, requirement: Requirement | None = None) -> None:
        response = error_response(error, requirement)
        super().__init__(response.description)
        self.error = error
        self.status = response.status
        self.headers = response.headers
        self.body = response.body


class RoomKey:
    """Verifies the tokens of routes: the same tokens, and the same revocations, as those of the sockets.

    Args:
        guard: the guard or the hub of the sockets. Without sockets, a verifier, or a guard that is not attached.
        via: where clients can send the token. Default: only the ``Authorization`` header. A cookie is used only if the
            request has no other token, and the server's own page or one of ``allowed_origins`` sent the request.
        required: False also accepts requests without a token, as :meth:`roomkey.Identity.guest`. An invalid token is
            still rejected.
        allowed_origins: origins of further web pages whose cookies are accepted, such as ``https://app.example``.

    Raises:
        ConfigError: a setting is invalid.
    """

    def __init__(
        self,
        guard: AnyGuard,
        *,
        via: Handshake | None = None,
        required: bool = True,
        allowed_origins: Iterable[str] = (),
    ) -> None:
        self._authority = _authority_of(guard)
        clock = getattr(self._authority, "clock", None)
        self._now: Callable[[], float] = time.time if clock is None else clock.now
        self._way = Handshake() if via is None else via
        if not isinstance(self._way, Handshake) or not (self._way.header or self._way.cookie or self._way.query):
            raise ConfigError("via must be a Handshake with a source in requests, such as Handshake(cookie='session')")
        if not isinstance(required, bool):
            raise ConfigError("required must be True or False")
        self._required = required
        listed = [allowed_origins] if isinstance(allowed_origins, str) else allowed_origins
        self._allowed = parse_origins(listed, schemes=("http", "https"))
        if self._way.secret_names:
            redact_logs(names=self._way.secret_names)

    async def identity(
        self,
        headers: Iterable[tuple[str, str]],
        *,
        query: str = "",
        scheme: str = "https",
        role: str | Iterable[str] | None = None,
        scope: str | Iterable[str] | None = None,
        max_auth_age: float | None = None,
    ) -> Identity:
        """Return the identity of a request.

        Args:
            headers: the names and values of its headers.
            query: its query string, for a token in the query.
            scheme: ``http`` or ``https``, for a token in a cookie.
            role: require a role, or one of several.
            scope: require one or several scopes.
            max_auth_age: the longest time in seconds since the user logged in.

        Raises:
            RouteError: there is no valid token, or the user lacks a right. It has the response.
            ConfigError: an argument is invalid.
        """
        given = any(value is not None for value in (role, scope, max_auth_age))
        requirement = Requirement.of(role, scope, max_auth_age) if given else None
        try:
            return self.check(await self.verify(headers, query=query, scheme=scheme), requirement)
        except AuthError as error:
            raise RouteError(error, requirement) from None

    async def verify(
        self, headers: Iterable[tuple[str, str]], *, query: str = "", scheme: str = "https"
    ) -> Identity | None:
        """Return the identity of a request's token, or None without a token (internal).

        Raises:
            AuthError: the token is not valid.
        """
        found: dict[str, list[str]] = {}
        for name, value in headers:
            found.setdefault(name.lower(), []).append(value)
        request = route_request(
            authorization=_joined(found, self._way.header_name),
            cookie="; ".join(found.get("cookie", ())),
            query=query,
            origin=_joined(found, "origin"),
            fetch_site=_joined(found, "sec-fetch-site"),
            scheme=scheme,
            host=_joined(found, "host"),
            allowed_origins=self._allowed,
        )
        presented = find_credential(self._way, None, request)
        if presented is None:
            return None
        return await self._authority.verify(presented.token, source=presented.source)

    def check(self, who: Identity | None, requirement: Requirement | None) -> Identity:
        """Return the identity of a request that meets a requirement (internal).

        Raises:
            AuthError: it does not, or the request has no token.
        """
        if who is None:
            if self._required:
                raise missing_credential(self._way)
            who = Identity.guest()
        problem = None if requirement is None else requirement.problem(who, self._now())
        if problem is not None:
            raise problem
        return who


def _joined(headers: dict[str, list[str]], name: str) -> str | None:
    """Return the value of a header; several values are joined, so that they are not valid."""
    return ", ".join(headers[name]) if name in headers else None


def _authority_of(guard: AnyGuard) -> TokenAuthority:
    """Return what verifies tokens and knows revocations: the guard, the hub's, or one for a verifier alone."""
    authority: Any = getattr(guard, "guard", guard)
    if isinstance(authority, BaseGuard) and not isinstance(authority, AsyncioGuard):
        raise ConfigError("cannot use a synchronous guard on an event loop; pass an AsyncGuard or the verifier")
    if callable(getattr(authority, "follow_revocations", None)):
        known: TokenAuthority = authority
        return known
    return AsyncioGuard(authority)
