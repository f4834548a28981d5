"""The OAuth 2.0 routes, for FastAPI (internal; import from :mod:`roomkey.auth`).

Mount them with ``app.include_router(oauth_router(logins, clients, single_use))``.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Request, Security
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field

from roomkey.auth.authorization_codes import AuthorizationCodes
from roomkey.auth.authorize import authorize_router
from roomkey.auth.client_auth import CLIENT, METHODS, ClientAuthenticator, ClientFields, invalid_client
from roomkey.auth.http import (
    NO_STORE,
    body_schema,
    client_info,
    error_responses,
    get_and_head,
    json_response,
    oauth_errors,
    parse_body,
)
from roomkey.auth.introspection import Introspection, introspect
from roomkey.auth.login_service import LoginService
from roomkey.auth.providers.site import LoginProviders
from roomkey.auth.revocation import revoke_token
from roomkey.auth.router import TokenAnswer
from roomkey.auth.token_endpoint import TokenEndpoint, TokenRequest
from roomkey.core.urls import is_confidential
from roomkey.errors import ConfigError
from roomkey.stores import Clients, SingleUseStore
from roomkey.stores.records import GRANTS

__all__ = ["Metadata", "oauth_router"]

METADATA_PATH = "/.well-known/oauth-authorization-server"
METADATA_AGE = 3600
"""Seconds for which clients may cache the metadata."""


class OneToken(ClientFields):
    """A token, and a hint about its type."""

    token: str = Field(min_length=1)
    token_type_hint: str | None = Field(default=None, description="ignored: tokens show their type")


class Metadata(BaseModel):
    """The metadata of the server (RFC 8414 section 2)."""

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
    single_use: SingleUseStore,
    *,
    prefix: str = "/oauth",
    issuer: str | None = None,
    jwks_path: str | None = None,
    title: str = "roomkey",
    providers: LoginProviders | None = None,
) -> APIRouter:
    """Return the OAuth 2.0 routes.

    Args:
        logins: issues and revokes tokens.
        clients: the OAuth clients.
        single_use: stores authorization codes.
        prefix: the path before ``/authorize``, ``/token``, ``/revoke`` and ``/introspect``.
        issuer: this server's address as clients know it, such as ``https://login.example`` (RFC 8414 section 2).
            Default: the ``iss`` of its tokens.
        jwks_path: the path of the public keys, for the metadata. Default: not in the metadata.
        title: this server's name on the login page.
        providers: the providers at which users can also log in. Mount their routes with ``provider_router``.

    Returns:
        A router with these four routes, and ``/.well-known/oauth-authorization-server``.

    Raises:
        ConfigError: ``issuer`` is not such an address.
    """
    base = _address(issuer if issuer is not None else logins.issuer.issuer or "")
    codes = AuthorizationCodes(single_use, logins)
    authenticator = ClientAuthenticator(clients, logins.throttles.clients)
    metadata = Metadata(
        issuer=base,
        authorization_endpoint=f"{base}{prefix}/authorize",
        token_endpoint=f"{base}{prefix}/token",
        revocation_endpoint=f"{base}{prefix}/revoke",
        introspection_endpoint=f"{base}{prefix}/introspect",
        jwks_uri=base + jwks_path if jwks_path is not None else None,
    )
    routes = APIRouter(tags=["oauth"])
    routes.include_router(authorize_router(logins, clients, codes, providers, prefix=prefix, issuer=base, title=title))
    _add_token(routes, prefix, authenticator, TokenEndpoint(logins, clients, codes))
    _add_revocation(routes, prefix, authenticator, logins)
    _add_introspection(routes, prefix, authenticator, logins)
    _add_metadata(routes, metadata)
    return routes


def _add_token(routes: APIRouter, prefix: str, authenticator: ClientAuthenticator, endpoint: TokenEndpoint) -> None:
    @routes.post(
        f"{prefix}/token",
        summary="Get tokens for a code, for a refresh token, or for a client itself",
        response_model=TokenAnswer,
        responses=_error_responses(),
        **_from_client(TokenRequest),
    )
    @oauth_errors
    async def token(request: Request) -> Response:
        sent = await parse_body(request, TokenRequest, "Send grant_type and its parameters, each once and a string.")
        client = await authenticator.authenticate(request, sent)
        return json_response(await endpoint.handle(client, sent, client_info(request)))


def _add_revocation(routes: APIRouter, prefix: str, authenticator: ClientAuthenticator, logins: LoginService) -> None:
    @routes.post(
        f"{prefix}/revoke",
        summary="Revoke a token of this client, and disconnect its sockets",
        response_class=Response,
        responses={200: {"description": "The token is not valid (any more)."}, **_error_responses()},
        **_from_client(OneToken),
    )
    @oauth_errors
    async def revoke(request: Request) -> Response:
        sent = await parse_body(request, OneToken, "Send token, once and a string.")
        client = await authenticator.authenticate(request, sent)
        await revoke_token(logins, client, sent.token)
        return Response(headers=NO_STORE)


def _add_introspection(
    routes: APIRouter, prefix: str, authenticator: ClientAuthenticator, logins: LoginService
) -> None:
    @routes.post(
        f"{prefix}/introspect",
        summary="Get the state of a token",
        response_model=Introspection,
        responses=_error_responses(),
        **_from_client(OneToken),
    )
    @oauth_errors
    async def introspect_token(request: Request) -> Response:
        sent = await parse_body(request, OneToken, "Send token, once and a string.")
        client = await authenticator.authenticate(request, sent)
        if client.secret_hash is None:  # RFC 7662 section 2.1: otherwise anybody could test tokens
            raise invalid_client("Only a client with a secret can introspect tokens.")
        return json_response(await introspect(logins, client, sent.token))


def _add_metadata(routes: APIRouter, metadata: Metadata) -> None:
    body = metadata.model_dump(exclude_none=True)

    @get_and_head(routes, METADATA_PATH, summary="Get the metadata of the server", response_model=Metadata)
    async def well_known() -> Response:
        return JSONResponse(body, headers={"Cache-Control": f"public, max-age={METADATA_AGE}"})


def _from_client(body: type[BaseModel]) -> dict[str, Any]:
    """Return the OpenAPI options of a route for clients, whose credentials are in the header or in the body."""
    return {"dependencies": [Security(CLIENT)], "openapi_extra": body_schema(body) | {"security": [{}]}}


def _error_responses() -> dict[int | str, dict[str, Any]]:
    found = error_responses(400, 401, 413, 429)
    found[401] = found[401] | {"description": "The client is unknown, or its secret is wrong (RFC 6749 section 5.2)."}
    return found


def _address(url: str) -> str:
    """Return an issuer identifier (RFC 8414 section 2). It has no path, so its metadata is at the server's root."""
    parts = urlsplit(url)
    if not is_confidential(url) or url != f"{parts.scheme}://{parts.netloc}":
        raise ConfigError(
            f"invalid issuer {url!r} for OAuth; use the server's address, with https (http only on this "
            "machine) and without a path, such as issuer='https://login.example'"
        )
    return url
