"""The authorization endpoint: a person says yes to a client (RFC 6749 section 4.1, RFC 7636, RFC 9207).

Name and password are in the form that says yes. The browser holds no session with this server, so that there is nothing
that another site could use in the person's place.
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
from roomkey.auth.authorize_pages import HEADERS, AuthorizationForm, AuthorizationRequest, Pages
from roomkey.auth.client_authentication import is_served
from roomkey.auth.codes import Codes, is_challenge
from roomkey.auth.http import DESCRIBED, FORM, WRONG, OAuthError, origin, read, readable, refuse_foreign_form
from roomkey.auth.logins import InvalidGrant, InvalidScope, LoginService, Origin
from roomkey.auth.throttle import Throttled
from roomkey.auth.token_grants import scope_for
from roomkey.errors import Unavailable
from roomkey.stores.clients import Client, Clients

__all__ = ["authorize_router"]

STRANGER = "The application that sent you here is not known, or it asked to send you on to a place that is not its own."
BROKEN = "The address that brought you here is broken."
BUSY = "The server is out of order or too busy. Try again."


class _Return(Exception):
    """The client is told (RFC 6749 section 4.1.2.1)."""

    def __init__(self, redirect_uri: str, state: str | None, error: str, description: str) -> None:
        self.redirect_uri = redirect_uri
        self.answer = {"error": error, "error_description": description, "state": state}
        super().__init__(error)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a client that is known asks for, and why it will not get it.

    That is told when the person has logged in and not before: nobody's browser is sent on because of a link alone
    (RFC 9700 section 4.11.2).
    """

    client: Client
    redirect_uri: str
    scope: str
    state: str | None
    challenge: str
    refusal: _Return | None


def authorize_router(
    logins: LoginService, clients: Clients, codes: Codes, *, prefix: str, issuer: str, title: str
) -> APIRouter:
    """``GET`` and ``POST {prefix}/authorize``.

    Args:
        logins: checks passwords.
        clients: who may ask.
        codes: gives codes out.
        prefix: the path in front of ``/authorize``.
        issuer: this server's address, which every answer carries (RFC 9207).
        title: its name on the page.
    """
    routes = APIRouter(prefix=prefix)
    endpoint = _Endpoint(logins, clients, codes, issuer, Pages(title))

    @readable(
        routes,
        "/authorize",
        summary="The page on which a person lets a client in",
        response_class=HTMLResponse,
        responses=_documented(200, 303, 400, 503),
        openapi_extra={"parameters": _query()},
    )
    async def show(request: Request) -> Response:
        return await endpoint.answer(request, endpoint.show)

    @routes.post(
        "/authorize",
        summary="The person's answer",
        response_class=HTMLResponse,
        responses=_documented(200, 303, 400, 403, 413, 429, 503),
        openapi_extra=_form(),
    )
    async def decide(request: Request) -> Response:
        return await endpoint.answer(request, endpoint.decide)

    return routes


class _Endpoint:
    """The endpoint without its routes."""

    def __init__(self, logins: LoginService, clients: Clients, codes: Codes, issuer: str, pages: Pages) -> None:
        self._logins = logins
        self._clients = clients
        self._codes = codes
        self._issuer = issuer
        self._pages = pages

    async def answer(self, request: Request, work: Callable[[Request], Awaitable[Response]]) -> Response:
        """Whatever is raised becomes a page, or an answer to the client."""
        try:
            return await work(request)
        except _Return as error:
            return self._return_to(error.redirect_uri, error.answer)
        except OAuthError as error:
            return self._pages.error(error.description, error.status)
        except Unavailable:
            return self._pages.error(BUSY, 503, {"Retry-After": "1"})

    async def show(self, request: Request) -> Response:
        """The page."""
        sent = _read_query(request)
        return self._form(sent, await _understand(request, self._clients, sent))

    async def decide(self, request: Request) -> Response:
        """What becomes of the person's answer."""
        refuse_foreign_form(request)
        sent = await read(request, AuthorizationForm, BROKEN)
        asked = await _understand(request, self._clients, sent)
        if sent.decision == "deny":
            raise _Return(asked.redirect_uri, asked.state, "access_denied", "The person said no.")
        if sent.username is None or sent.password is None:
            return self._form(sent, asked)
        try:
            return await self._let_in(asked, sent.username, sent.password, origin(request))
        except InvalidGrant:
            return self._form(sent, asked, WRONG, 400)
        except Throttled as error:
            return self._form(
                sent, asked, f"Too many attempts. Try again in {error.retry_after} s.", 429, error.retry_after
            )
        except Unavailable:
            return self._form(sent, asked, BUSY, 503, 1)

    def _form(
        self,
        sent: AuthorizationRequest,
        asked: _Asked,
        problem: str = "",
        status: int = 200,
        retry_after: int | None = None,
    ) -> Response:
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        return self._pages.login(sent, asked.client, asked.scope, problem, status, headers)

    async def _let_in(self, asked: _Asked, username: str, password: str, came_from: Origin) -> Response:
        account = await self._logins.check_password(username, password, came_from)
        if asked.refusal is not None:
            raise asked.refusal
        code = await self._codes.make(
            account,
            came_from,
            asked.client,
            redirect_uri=asked.redirect_uri,
            scope=asked.scope,
            challenge=asked.challenge,
        )
        audit.record(
            "login",
            outcome="granted",
            sub=account.username,
            client_id=asked.client.client_id,
            reason="password, for a client",
            address=came_from.address,
        )
        return self._return_to(asked.redirect_uri, {"code": code, "state": asked.state})

    def _return_to(self, redirect_uri: str, answer: dict[str, str | None]) -> Response:
        # 303, so that no browser sends the form with the password on (RFC 9700 section 4.12).
        told = answer | {"iss": self._issuer}
        query = urlencode({name: value for name, value in told.items() if value is not None})
        location = f"{redirect_uri}{'&' if '?' in redirect_uri else '?'}{query}"
        return Response(status_code=303, headers=HEADERS | {"Location": location})


def _read_query(request: Request) -> AuthorizationRequest:
    """The parameters of the address, each there once (RFC 6749 section 3.1)."""
    try:
        pairs = parse_qsl(request.url.query, keep_blank_values=True, errors="strict", max_num_fields=20)
    except ValueError:
        raise OAuthError("invalid_request", BROKEN) from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise OAuthError("invalid_request", BROKEN)
    return AuthorizationRequest.model_validate(fields)


async def _understand(request: Request, clients: Clients, sent: AuthorizationRequest) -> _Asked:
    """Who asks, and what for.

    Raises:
        OAuthError: not even where to send the browser is certain: then it stays here.
    """
    client = await clients.find(sent.client_id or "")
    if client is None or not is_served(client) or sent.redirect_uri not in client.redirect_uris:
        audit.record(
            "client_refused",
            level=logging.WARNING,
            client_id=client.client_id if client else None,
            reason="no such client" if client is None else "disabled, or another redirect URI",
            address=origin(request).address,
        )
        raise OAuthError("invalid_request", STRANGER)
    scope = None
    with suppress(InvalidScope):
        scope = scope_for(client, sent.scope)
    challenge = sent.code_challenge or ""
    proves = sent.code_challenge_method == "S256" and is_challenge(challenge)
    problems = (
        ("authorization_code" not in client.grants, "unauthorized_client", "This client may not ask for codes."),
        (sent.response_type is None, "invalid_request", "response_type is missing."),
        (sent.response_type != "code", "unsupported_response_type", "response_type is code."),
        (not proves, "invalid_request", "Send a code_challenge, with code_challenge_method=S256."),
        (scope is None, "invalid_scope", "The scope is more than the client may have."),
    )
    told = ((error, description) for applies, error, description in problems if applies)
    refusal = next((_Return(sent.redirect_uri, sent.state, *one) for one in told), None)
    return _Asked(client, sent.redirect_uri, scope or "", sent.state, challenge, refusal)


def _documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Answers for OpenAPI: all are pages but 303."""
    described = DESCRIBED | {200: "The page.", 303: "Back to the client, with a code or an error."}
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
