"""The login server for OAuth 2.0 clients: applications on other servers, and services.

An application mounts it with ``app.include_router(oauth_router(logins, clients, one_time))``.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Request, Security
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field

from roomkey.auth.authorize import authorize_router
from roomkey.auth.client_authentication import CLIENT, METHODS, ClientAuthentication, ClientFields, invalid_client
from roomkey.auth.codes import Codes
from roomkey.auth.http import NO_STORE, answer, answering, body_of, errors, origin, read, readable
from roomkey.auth.logins import LoginService
from roomkey.auth.router import TokenAnswer
from roomkey.auth.token_grants import TokenGrants, TokenRequest
from roomkey.auth.token_state import Introspection, introspect, revoke
from roomkey.core.urls import is_confidential
from roomkey.errors import ConfigError
from roomkey.stores.clients import GRANTS, Clients
from roomkey.stores.single_use import SingleUseStore

__all__ = ["Metadata", "oauth_router"]

METADATA_PATH = "/.well-known/oauth-authorization-server"
METADATA_AGE = 3600
"""Seconds that a client may keep the metadata."""


class OneToken(ClientFields):
    """A token, and what it may be."""

    token: str = Field(min_length=1)
    token_type_hint: str | None = Field(default=None, description="not needed: a token shows what it is")


class Metadata(BaseModel):
    """Where everything is, and what of it there is (RFC 8414 section 2)."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    revocation_endpoint: str
    introspection_endpoint: str
    jwks_uri: str | None = None
    response_types_supported: list[str] = ["code"]
    response_modes_supported: list[str] = ["query"]
    grant_types_supported: list[str] = list(GRANTS)
    token_endpoint_auth_methods_supported: list[str] = list(METHODS)
    revocation_endpoint_auth_methods_supported: list[str] = list(METHODS)
    introspection_endpoint_auth_methods_supported: list[str] = [method for method in METHODS if method != "none"]
    code_challenge_methods_supported: list[str] = ["S256"]
    authorization_response_iss_parameter_supported: bool = True


def oauth_router(
    logins: LoginService,
    clients: Clients,
    one_time: SingleUseStore,
    *,
    prefix: str = "/oauth",
    issuer: str | None = None,
    jwks_path: str | None = None,
    title: str = "roomkey",
) -> APIRouter:
    """The OAuth 2.0 endpoints as routes.

    Args:
        logins: gives tokens, and takes them back.
        clients: who may ask for them.
        one_time: where authorization codes are kept.
        prefix: the path in front of ``/authorize``, ``/token``, ``/revoke`` and ``/introspect``.
        issuer: this server's address as clients know it, such as ``https://login.example`` (RFC 8414 section 2); the
            ``iss`` of its tokens if absent.
        jwks_path: where the public keys are, for the metadata; left out of it if absent.
        title: this server's name on the login page.

    Returns:
        A router with those four, and with ``/.well-known/oauth-authorization-server``.

    Raises:
        ConfigError: ``issuer`` is no such address.
    """
    base = _address(issuer if issuer is not None else logins.issuer.issuer or "")
    codes = Codes(one_time, logins)
    authentication = ClientAuthentication(clients)
    grants = TokenGrants(logins, clients, codes)
    routes = APIRouter(tags=["oauth"])
    routes.include_router(authorize_router(logins, clients, codes, prefix=prefix, issuer=base, title=title))

    @routes.post(
        f"{prefix}/token",
        summary="Tokens for a code, for a refresh token, or for a client itself",
        response_model=TokenAnswer,
        responses=_errors(),
        **_from_client(TokenRequest),
    )
    @answering
    async def token(request: Request) -> Response:
        asked = await read(request, TokenRequest, "Send grant_type and what it needs, each once and a string.")
        client = await authentication.client_of(request, asked)
        return answer(await grants.give(client, asked, origin(request)))

    @routes.post(
        f"{prefix}/revoke",
        summary="Cancel a token of this client, and end the sockets that it holds open",
        response_class=Response,
        responses={200: {"description": "It is good no more, if it ever was."}, **_errors()},
        **_from_client(OneToken),
    )
    @answering
    async def revoke_token(request: Request) -> Response:
        sent = await read(request, OneToken, "Send token, once and a string.")
        client = await authentication.client_of(request, sent)
        await revoke(logins, client, sent.token)
        return Response(headers=NO_STORE)

    @routes.post(
        f"{prefix}/introspect",
        summary="What a token is worth",
        response_model=Introspection,
        responses=_errors(),
        **_from_client(OneToken),
    )
    @answering
    async def introspect_token(request: Request) -> Response:
        sent = await read(request, OneToken, "Send token, once and a string.")
        client = await authentication.client_of(request, sent)
        if client.secret_hash is None:  # RFC 7662 section 2.1: else anybody could try tokens out
            raise invalid_client("Only a client with a secret may ask.")
        return answer(await introspect(logins, client, sent.token))

    metadata = Metadata(
        issuer=base,
        authorization_endpoint=f"{base}{prefix}/authorize",
        token_endpoint=f"{base}{prefix}/token",
        revocation_endpoint=f"{base}{prefix}/revoke",
        introspection_endpoint=f"{base}{prefix}/introspect",
        jwks_uri=base + jwks_path if jwks_path is not None else None,
    ).model_dump(exclude_none=True)

    @readable(routes, METADATA_PATH, summary="Where everything is, for OAuth clients", response_model=Metadata)
    async def well_known() -> Response:
        return JSONResponse(metadata, headers={"Cache-Control": f"public, max-age={METADATA_AGE}"})

    return routes


def _from_client(body: type[BaseModel]) -> dict[str, Any]:
    """What the document says of a route for clients: the header is one way to say who it is, the body another."""
    return {"dependencies": [Security(CLIENT)], "openapi_extra": body_of(body) | {"security": [{}]}}


def _errors() -> dict[int | str, dict[str, Any]]:
    found = errors(400, 401, 413, 429)
    found[401] = found[401] | {"description": "No such client, or its proof is wrong (RFC 6749 section 5.2)."}
    return found


def _address(url: str) -> str:
    """An issuer identifier (RFC 8414 section 2) without a path: then what is well known lies at the server's root."""
    parts = urlsplit(url)
    if not is_confidential(url) or url != f"{parts.scheme}://{parts.netloc}":
        raise ConfigError(
            "OAuth needs the server's address as its issuer, without a path, and with https (or on this machine): "
            "issuer='https://login.example'"
        )
    return url
