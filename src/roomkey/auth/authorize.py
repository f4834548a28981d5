"""The authorization endpoint: a user gives consent to a client (RFC 6749 section 4.1, RFC 7636, RFC 9207; internal).

The form contains username and password. The browser has no session with this server, so another site cannot act in the
user's place.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

from roomkey import audit
from roomkey.auth.authorization_codes import AuthorizationCodes, is_challenge
from roomkey.auth.authorize_pages import HEADERS, AuthorizationForm, AuthorizationRequest, Pages
from roomkey.auth.client_auth import is_enabled
from roomkey.auth.http import (
    DESCRIBED,
    FORM,
    WRONG,
    OAuthError,
    client_info,
    get_and_head,
    parse_body,
    reject_cross_site_form,
)
from roomkey.auth.issued_tokens import ClientInfo, InvalidGrant, InvalidScope, ProviderUser
from roomkey.auth.login_service import LoginService
from roomkey.auth.providers.site import LoginProviders
from roomkey.auth.throttle import Throttled
from roomkey.auth.token_endpoint import scope_for
from roomkey.errors import Unavailable
from roomkey.stores import Account, Client, Clients

__all__ = ["authorize_router"]

UNKNOWN = "The application that sent you here is unknown, or its redirect address is not registered."
MALFORMED = "The link that brought you here is malformed."
LOG_IN_AGAIN = "Log in again: the login at the provider took too long, or was used before."
BUSY = "The server is unavailable or too busy. Try again."


class _ClientError(Exception):
    """An error that is returned to the client by a redirect (RFC 6749 section 4.1.2.1)."""

    def __init__(self, redirect_uri: str, state: str | None, error: str, description: str) -> None:
        self.redirect_uri = redirect_uri
        self.parameters = {"error": error, "error_description": description, "state": state}
        super().__init__(error)


@dataclass(frozen=True, slots=True)
class _ValidRequest:
    """The request of a known client, and the error that it will get, if any.

    The client gets the error only after the user has logged in: a link alone must not redirect a browser (RFC 9700
    section 4.11.2).
    """

    client: Client
    redirect_uri: str
    scope: str
    state: str | None
    challenge: str
    error: _ClientError | None


def authorize_router(
    logins: LoginService,
    clients: Clients,
    codes: AuthorizationCodes,
    providers: LoginProviders | None = None,
    *,
    prefix: str,
    issuer: str,
    title: str,
) -> APIRouter:
    """Return the routes ``GET`` and ``POST {prefix}/authorize``.

    Args:
        logins: verifies passwords.
        clients: the OAuth clients.
        codes: issues authorization codes.
        providers: the providers at which users can also log in.
        prefix: the path before ``/authorize``.
        issuer: this server's address, which every redirect contains (RFC 9207).
        title: the server's name on the page.
    """
    routes = APIRouter(prefix=prefix)
    endpoint = _Endpoint(logins, clients, codes, providers, issuer, Pages(title))

    @get_and_head(
        routes,
        "/authorize",
        summary="Show the page on which a user lets a client in",
        response_class=HTMLResponse,
        responses=_documented(200, 303, 400, 503),
        openapi_extra={"parameters": _query()},
    )
    async def show(request: Request) -> Response:
        return await endpoint.respond(request, endpoint.show)

    @routes.post(
        "/authorize",
        summary="Send the user's decision",
        response_class=HTMLResponse,
        responses=_documented(200, 303, 400, 403, 413, 429, 503),
        openapi_extra=_form(),
    )
    async def decide(request: Request) -> Response:
        return await endpoint.respond(request, endpoint.decide)

    return routes


class _Endpoint:
    """The endpoint without its routes."""

    def __init__(
        self,
        logins: LoginService,
        clients: Clients,
        codes: AuthorizationCodes,
        providers: LoginProviders | None,
        issuer: str,
        pages: Pages,
    ) -> None:
        self._logins = logins
        self._clients = clients
        self._codes = codes
        self._providers = providers
        self._issuer = issuer
        self._pages = pages

    async def respond(self, request: Request, handle: Callable[[Request], Awaitable[Response]]) -> Response:
        """Handle a request, and return errors as pages or as redirects to the client."""
        try:
            return await handle(request)
        except _ClientError as error:
            return self._return_to(error.redirect_uri, error.parameters)
        except OAuthError as error:
            return self._pages.error(error.description, error.status)
        except Unavailable:
            return self._pages.error(BUSY, 503, {"Retry-After": "1"})

    async def show(self, request: Request) -> Response:
        """Return the page with the form."""
        sent = _parse_query(request)
        return self._form(request, sent, await _validate(request, self._clients, sent))

    async def decide(self, request: Request) -> Response:
        """Handle the form that the user sent."""
        reject_cross_site_form(request)
        sent = await parse_body(request, AuthorizationForm, MALFORMED)
        valid = await _validate(request, self._clients, sent)
        if sent.decision == "deny":
            raise _ClientError(valid.redirect_uri, valid.state, "access_denied", "The user denied access.")
        try:
            if sent.at_provider is not None and self._providers is not None:
                return await self._let_in_from_provider(request, valid, self._providers)
            if sent.username is None or sent.password is None:
                return self._form(request, sent, valid)
            return await self._let_in(valid, sent.username, sent.password, client_info(request))
        except InvalidGrant:
            problem = WRONG if sent.at_provider is None else LOG_IN_AGAIN
            return self._form(request, sent.model_copy(update={"at_provider": None}), valid, problem, 400)
        except Throttled as error:
            text = f"Too many attempts. Try again in {error.retry_after} s."
            return self._form(request, sent, valid, text, 429, error.retry_after)
        except Unavailable:
            return self._form(request, sent, valid, BUSY, 503, 1)

    def _form(
        self,
        request: Request,
        sent: AuthorizationRequest,
        valid: _ValidRequest,
        problem: str = "",
        status: int = 200,
        retry_after: int | None = None,
    ) -> Response:
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        if self._providers is None:
            sent = sent.model_copy(update={"at_provider": None})
        buttons = () if self._providers is None else self._providers.buttons(_come_back(request, sent))
        return self._pages.login(sent, valid.client, valid.scope, problem, status, headers, buttons)

    async def _let_in_from_provider(
        self, request: Request, valid: _ValidRequest, providers: LoginProviders
    ) -> Response:
        """Return the code for a user who has logged in at a provider before the consent."""
        taken = await providers.take(request)
        if valid.error is not None:
            raise valid.error
        return await self._grant(
            valid, taken.account, client_info(request), f"provider {taken.provider}", taken.user, taken.logged_in_at
        )

    async def _let_in(self, valid: _ValidRequest, username: str, password: str, info: ClientInfo) -> Response:
        account = await self._logins.password_authenticator.authenticate(username, password, info)
        if valid.error is not None:
            raise valid.error
        return await self._grant(valid, account, info, "password")

    async def _grant(
        self,
        valid: _ValidRequest,
        account: Account,
        info: ClientInfo,
        proof: str,
        provider: ProviderUser | None = None,
        logged_in_at: int | None = None,
    ) -> Response:
        code = await self._codes.issue(
            account,
            info,
            valid.client,
            redirect_uri=valid.redirect_uri,
            scope=valid.scope,
            challenge=valid.challenge,
            provider=provider,
            auth_time=logged_in_at,
        )
        audit.record(
            "login",
            outcome="granted",
            sub=account.username,
            client_id=valid.client.client_id,
            reason=f"{proof}, for a client",
            address=info.address,
        )
        return self._return_to(valid.redirect_uri, {"code": code, "state": valid.state})

    def _return_to(self, redirect_uri: str, parameters: dict[str, str | None]) -> Response:
        # 303, so that browsers do not send the form with the password to the client (RFC 9700 section 4.12).
        parameters = parameters | {"iss": self._issuer}
        query = urlencode({name: value for name, value in parameters.items() if value is not None})
        location = f"{redirect_uri}{'&' if '?' in redirect_uri else '?'}{query}"
        return Response(status_code=303, headers=HEADERS | {"Location": location})


def _come_back(request: Request, sent: AuthorizationRequest) -> str:
    """Return the path of the page to which a login at a provider returns."""
    parameters = sent.model_dump(include=set(AuthorizationRequest.model_fields), exclude_none=True)
    return f"{request.url.path}?{urlencode(parameters | {'at_provider': '1'})}"


def _parse_query(request: Request) -> AuthorizationRequest:
    """Return the parameters of the URL, none of which may be repeated (RFC 6749 section 3.1)."""
    try:
        pairs = parse_qsl(request.url.query, keep_blank_values=True, errors="strict", max_num_fields=20)
    except ValueError:
        raise OAuthError("invalid_request", MALFORMED) from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise OAuthError("invalid_request", MALFORMED)
    return AuthorizationRequest.model_validate(fields)


async def _validate(request: Request, clients: Clients, sent: AuthorizationRequest) -> _ValidRequest:
    """Check a request.

    Raises:
        OAuthError: the client or its redirect URI is unknown, so the browser cannot be redirected.
    """
    client = await clients.find(sent.client_id or "")
    if client is None or not is_enabled(client) or sent.redirect_uri not in client.redirect_uris:
        audit.record(
            "client_refused",
            level=logging.WARNING,
            client_id=client.client_id if client else None,
            reason="no such client" if client is None else "disabled, or another redirect URI",
            address=client_info(request).address,
        )
        raise OAuthError("invalid_request", UNKNOWN)
    scope = None
    with suppress(InvalidScope):
        scope = scope_for(client, sent.scope)
    challenge = sent.code_challenge or ""
    has_challenge = sent.code_challenge_method == "S256" and is_challenge(challenge)
    problems = (
        ("authorization_code" not in client.grants, "unauthorized_client", "This client cannot request codes."),
        (sent.response_type is None, "invalid_request", "response_type is missing."),
        (sent.response_type != "code", "unsupported_response_type", "Use response_type=code."),
        (not has_challenge, "invalid_request", "Send a code_challenge with code_challenge_method=S256."),
        (scope is None, "invalid_scope", "The client cannot have this scope."),
    )
    applicable = ((error, description) for applies, error, description in problems if applies)
    error = next((_ClientError(sent.redirect_uri, sent.state, *one) for one in applicable), None)
    return _ValidRequest(client, sent.redirect_uri, scope or "", sent.state, challenge, error)


def _documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the responses for OpenAPI: pages, except for 303."""
    described = DESCRIBED | {200: "The page.", 303: "A redirect to the client, with a code or an error."}
    page = {"content": {"text/html": {"schema": {"type": "string"}}}}
    return {status: {"description": described[status], **({} if status == 303 else page)} for status in statuses}


def _query() -> list[dict[str, Any]]:
    properties = AuthorizationRequest.model_fields
    return [
        {"name": name, "in": "query", "description": field.description or "", "schema": {"type": "string"}}
        for name, field in properties.items()
    ]


def _form() -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {FORM: {"schema": AuthorizationForm.model_json_schema()}}}}
