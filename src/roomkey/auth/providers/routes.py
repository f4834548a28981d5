"""The routes of logins at OpenID providers, for FastAPI (internal; import from :mod:`roomkey.auth`).

Mount them with ``app.include_router(provider_router(providers))``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response
from pydantic import BaseModel, Field

from roomkey.auth.authorize_pages import HEADERS, Pages
from roomkey.auth.cookies import CSRF_HEADER, MAX_COOKIE, Cookies
from roomkey.auth.http import (
    DESCRIBED,
    FORM,
    JSON,
    NO_STORE,
    OAuthError,
    client_info,
    error_responses,
    get_and_head,
    invalid_grant,
    json_response,
    oauth_errors,
    parse_body,
)
from roomkey.auth.issued_tokens import InvalidGrant
from roomkey.auth.providers.accounts import NoAccount
from roomkey.auth.providers.attempts import ATTEMPT_SECONDS
from roomkey.auth.providers.logins import HANDOVER_SECONDS, ProviderLogins
from roomkey.auth.providers.site import ATTEMPT_COOKIE, HANDOVER_COOKIE, LoginProviders
from roomkey.auth.router import CookieAnswer, TokenAnswer, token_response
from roomkey.auth.throttle import Throttled
from roomkey.core import jws
from roomkey.errors import Unavailable

__all__ = ["LOGGED_IN", "provider_router"]

LOGGED_IN = "#roomkey-login"
"""What ends the URL of the page after the login, so that its script asks for the tokens."""

FAILED = "The login did not succeed."
NO_ACCOUNT = "You have no account here. Ask the operator of this server for one."
BUSY = "The login is unavailable at the moment. Try again."


class ProviderEntry(BaseModel):
    """A provider at which users can log in."""

    name: str
    title: str = Field(description="for the button")
    login: str = Field(description="the path to which the button leads")


class ProviderList(BaseModel):
    """The providers."""

    providers: list[ProviderEntry]


class TokenRequest(BaseModel):
    """What the page wants after the login."""

    cookies: bool = Field(False, description="put the tokens into cookies, and not into the response")


class LogoutRequest(BaseModel):
    """The provider's message about a logout (OpenID Connect Back-Channel Logout 1.0 section 2.5)."""

    logout_token: str = Field(min_length=1, max_length=jws.MAX_TOKEN)


def provider_router(providers: LoginProviders, *, cookies: Cookies | None = None, title: str = "roomkey") -> APIRouter:
    """Return the routes of logins at OpenID providers.

    Args:
        providers: the providers.
        cookies: for pages that ask for cookies instead of tokens. Default: no cookies.
        title: this server's name on error pages.

    Returns:
        A router with the list of the providers, and for each of them ``{name}/login``, ``{name}/callback`` and
        ``{name}/logout``; and ``tokens``, which gives the page its tokens.
    """
    endpoint = _Endpoint(providers, Pages(title))
    routes = APIRouter(prefix=providers.prefix, tags=["login"])
    _add_list(routes, providers)
    _add_browser(routes, endpoint)
    _add_tokens(routes, providers, cookies)
    _add_logout(routes, providers.logins)
    return routes


class _Endpoint:
    """The routes of browsers, without the routes."""

    def __init__(self, site: LoginProviders, pages: Pages) -> None:
        self._site = site
        self._pages = pages

    async def page(
        self, request: Request, name: str, handle: Callable[[Request, str], Awaitable[Response]]
    ) -> Response:
        """Handle a request of a browser, and return errors as pages. They contain nothing of the request."""
        try:
            if self._site.logins.find(name) is None:
                raise OAuthError("not_found", "There is no such provider.", 404)
            return await handle(request, name)
        except OAuthError as error:
            failed = self._pages.error(error.description, error.status)
        except NoAccount:
            failed = self._pages.error(NO_ACCOUNT, 403)
        except InvalidGrant:
            failed = self._pages.error(FAILED, 400)
        except Throttled as error:
            text = f"Too many attempts. Try again in {error.retry_after} s."
            failed = self._pages.error(text, 429, {"Retry-After": str(error.retry_after)})
        except Unavailable:
            failed = self._pages.error(BUSY, 503, {"Retry-After": "1"})
        return failed

    async def login(self, request: Request, name: str) -> Response:
        """Send the browser to the provider."""
        # Another site must not log the user in, so it gets no attempt: only this site, and the user (none).
        if request.headers.get("sec-fetch-site", "none") == "cross-site":
            raise OAuthError("forbidden", "Begin the login on this site.", 403)
        sent = _parameters(request)
        return_to, redirect_uri = sent.get("return_to", "/"), self._site.redirect_uri(request, name)
        begun = await self._site.logins.begin(name, return_to, redirect_uri, fresh=sent.get("fresh") == "1")
        response = _redirect(begun.url)
        # Lax: the browser comes back from another site.
        self._site.set_cookie(request, response, ATTEMPT_COOKIE, begun.cookie, ATTEMPT_SECONDS, "lax")
        return response

    async def callback(self, request: Request, name: str) -> Response:
        """Complete the login, and send the browser to the page."""
        base = self._site.base(request)
        cookie = self._site.cookie(request, ATTEMPT_COOKIE)
        completed = await self._site.logins.complete(
            name, _parameters(request), cookie, self._site.redirect_uri(request, name), client_info(request)
        )
        response = _redirect(f"{base}{completed.return_to}{LOGGED_IN}")
        self._site.set_cookie(request, response, HANDOVER_COOKIE, completed.value, HANDOVER_SECONDS, "strict")
        self._site.set_cookie(request, response, ATTEMPT_COOKIE, "", 0, "lax")
        return response


def _redirect(url: str) -> Response:
    return Response(status_code=303, headers=HEADERS | {"Location": url})


def _parameters(request: Request) -> dict[str, str]:
    """Return the parameters of the URL, none of which may be repeated."""
    try:
        pairs = parse_qsl(request.url.query, keep_blank_values=True, errors="strict", max_num_fields=20)
    except ValueError:
        pairs = [("", ""), ("", "")]
    if len(dict(pairs)) != len(pairs):
        raise OAuthError("invalid_request", "The link that brought you here is malformed.")
    return dict(pairs)


def _add_list(routes: APIRouter, site: LoginProviders) -> None:
    @get_and_head(routes, "", summary="List the providers at which users can log in", response_model=ProviderList)
    @oauth_errors
    async def providers() -> Response:
        entries = [
            ProviderEntry(name=one.name, title=one.shown_title, login=f"{site.prefix}/{one.name}/login")
            for one in site.logins.providers
        ]
        return json_response(ProviderList(providers=entries))


def _add_browser(routes: APIRouter, endpoint: _Endpoint) -> None:
    @get_and_head(
        routes,
        "/{name}/login",
        summary="Send the browser to a provider to log in",
        response_class=HTMLResponse,
        responses=_documented("the provider", 400, 403, 404, 503),
        openapi_extra=_query(
            return_to="the path of the page that the browser opens in the end; default: /",
            fresh="1 to let the user enter the password again",
        ),
    )
    async def login(request: Request, name: str) -> Response:
        return await endpoint.page(request, name, endpoint.login)

    @get_and_head(
        routes,
        "/{name}/callback",
        summary="Where the provider sends the browser back",
        response_class=HTMLResponse,
        responses=_documented("the page", 400, 403, 404, 429, 503),
        openapi_extra=_query(code="the code", state="as this server sent it", iss="the provider", error="RFC 6749"),
    )
    async def callback(request: Request, name: str) -> Response:
        return await endpoint.page(request, name, endpoint.callback)


def _add_tokens(routes: APIRouter, site: LoginProviders, cookies: Cookies | None) -> None:
    @routes.post(
        "/tokens",
        summary="Get the tokens of a login at a provider, once, for the page that the browser opened after it",
        response_model=TokenAnswer | CookieAnswer,
        responses=error_responses(400, 403, 413),
        openapi_extra=_body(JSON, TokenRequest),
    )
    @oauth_errors
    async def tokens(request: Request) -> Response:
        if request.headers.get(CSRF_HEADER) != "1":
            raise OAuthError("forbidden", f"Send the header {CSRF_HEADER}: 1.", 403)
        sent = await parse_body(request, TokenRequest, "Send an object, or cookies, true or false.")
        into = _cookies_for(request, cookies) if sent.cookies else None
        value = site.cookie(request, HANDOVER_COOKIE)
        try:
            issued = await site.logins.start_session(
                value, client_info(request), max_token=None if into is None else MAX_COOKIE
            )
        except InvalidGrant:
            raise invalid_grant("Log in again.") from None
        response = token_response(issued, into)
        site.set_cookie(request, response, HANDOVER_COOKIE, "", 0, "strict")
        return response


def _cookies_for(request: Request, cookies: Cookies | None) -> Cookies:
    if cookies is None:
        raise OAuthError("invalid_request", "This server does not set cookies.")
    cookies.check_tls(request)
    cookies.check_page(request)
    return cookies


def _add_logout(routes: APIRouter, logins: ProviderLogins) -> None:
    @routes.post(
        "/{name}/logout",
        summary="Where a provider reports a logout (OpenID Connect Back-Channel Logout)",
        response_class=Response,
        responses={200: {"description": "The sessions have ended."}, **error_responses(400, 404, 413)},
        openapi_extra=_body(FORM, LogoutRequest),
    )
    @oauth_errors
    async def logout(request: Request, name: str) -> Response:
        if logins.find(name) is None:
            raise OAuthError("not_found", "There is no such provider.", 404)
        sent = await parse_body(request, LogoutRequest, "Send logout_token, once and a string.")
        try:
            await logins.end(name, sent.logout_token)
        except InvalidGrant:
            raise OAuthError("invalid_request", "The logout token is not valid.") from None
        except Unavailable:  # section 2.8 requires 400 if the logout failed
            raise OAuthError("temporarily_unavailable", "The logout failed; send it again.") from None
        return Response(headers=NO_STORE)


def _documented(target: str, *statuses: int) -> dict[int | str, dict[str, Any]]:
    page = {"content": {"text/html": {"schema": {"type": "string"}}}}
    errors: dict[int | str, dict[str, Any]] = {
        status: {"description": DESCRIBED[status], **page} for status in statuses
    }
    return {303: {"description": f"A redirect to {target}."}, **errors}


def _body(content_type: str, model: type[BaseModel]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {content_type: {"schema": model.model_json_schema()}}}}


def _query(**parameters: str) -> dict[str, Any]:
    return {
        "parameters": [
            {"name": name, "in": "query", "description": text, "schema": {"type": "string"}}
            for name, text in parameters.items()
        ]
    }
