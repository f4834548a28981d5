"""Tokens for the routes of a FastAPI application, with the verifier and the revocations of its sockets.

::

    tokens = RoomKey(guard)

    @app.get("/me")
    async def me(who: Annotated[Identity, Depends(tokens.identity)]): ...

    @app.post("/news", dependencies=[Depends(tokens.requires(role="editor"))])
    async def news(text: str): ...

It requires ``roomkey[fastapi]``.
"""

# No postponed annotations: FastAPI reads those of __call__ when a route is added.

from collections.abc import Awaitable, Callable, Iterable
from typing import Annotated

from roomkey.extras import needs

with needs("fastapi", "roomkey.fastapi"):
    from fastapi import Depends
    from fastapi.openapi.models import APIKey, HTTPBearer
    from fastapi.openapi.models import SecurityBase as SecurityScheme
    from fastapi.security import SecurityScopes
    from fastapi.security.base import SecurityBase
    from starlette.requests import HTTPConnection

from roomkey import routes, starlette
from roomkey.core.identity import Identity
from roomkey.core.requirements import Requirement
from roomkey.starlette import AuthHTTPException, Handshake

__all__ = ["AuthHTTPException", "Handshake", "RoomKey"]


class TokenIdentity(SecurityBase):
    """The dependency that returns the identity of a request or WebSocket; the OpenAPI document shows it as a lock."""

    def __init__(self, tokens: starlette.RoomKey, way: Handshake) -> None:
        self._tokens = tokens
        self.model, self.scheme_name = _scheme_of(way)

    async def __call__(self, connection: HTTPConnection, scopes: SecurityScopes) -> Identity:
        """Return the identity; ``Security(tokens.identity, scopes=[…])`` also requires these scopes."""
        return await self._tokens.check(connection, Requirement.of(scope=scopes.scopes) if scopes.scopes else None)


class RoomKey:
    """Verifies the tokens of routes: the same tokens, and the same revocations, as those of the sockets.

    Args:
        guard: as for :class:`roomkey.routes.RoomKey`, like the other arguments.

    Attributes:
        identity: the dependency for the identity: ``Depends(tokens.identity)``.

    Raises:
        ConfigError: a setting is invalid.
    """

    def __init__(
        self,
        guard: routes.AnyGuard,
        *,
        via: Handshake | None = None,
        required: bool = True,
        allowed_origins: Iterable[str] = (),
    ) -> None:
        self._tokens = starlette.RoomKey(guard, via=via, required=required, allowed_origins=allowed_origins)
        self.identity = TokenIdentity(self._tokens, via or Handshake())

    def requires(
        self,
        *,
        role: str | Iterable[str] | None = None,
        scope: str | Iterable[str] | None = None,
        max_auth_age: float | None = None,
    ) -> Callable[..., Awaitable[Identity]]:
        """Return a dependency that requires a user with these rights, and returns the identity.

        Args:
            role: a role, or several of which one is enough.
            scope: one or several scopes, which are all required.
            max_auth_age: the longest time in seconds since the user logged in.

        Raises:
            ConfigError: an argument is invalid.
        """
        requirement = Requirement.of(role, scope, max_auth_age)

        async def check(connection: HTTPConnection, _who: Annotated[Identity, Depends(self.identity)]) -> Identity:
            return await self._tokens.check(connection, requirement)

        return check


def _scheme_of(way: Handshake) -> tuple[SecurityScheme, str]:
    """Return the OpenAPI scheme of the first place where requests can have the token, and its name."""
    text = "An access token."
    if way.header is True:
        return HTTPBearer(bearerFormat="JWT", description=text), "access_token"
    named = {"header": way.header, "cookie": way.cookie, "query": way.query}
    place, name = next((place, name) for place, name in named.items() if isinstance(name, str))
    return APIKey.model_validate({"in": place, "name": name, "description": text}), f"access_token_{place}"
