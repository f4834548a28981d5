"""Tokens in Django's requests: the middleware, and the decorator for views."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, TypeVar

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.functional import SimpleLazyObject

from roomkey.core.credentials import Credential, find_credential
from roomkey.core.http_tokens import error_response, route_request
from roomkey.core.identity import Identity
from roomkey.core.requirements import Requirement
from roomkey.django import guards
from roomkey.django.settings import configuration
from roomkey.errors import AuthError

View = TypeVar("View", bound=Callable[..., Any])

FOUND = "_roomkey_identity"
"""Where a request keeps its identity, or the error of its token."""

NO_STORE = {"Cache-Control": "no-store"}


class IdentityMiddleware:
    """Sets ``request.identity``: the identity of the request's token, or a guest without one.

    The token is in the header ``Authorization``, or in the header that ``HANDSHAKE`` names; also in the cookie that it
    names, if a page of this site sent the request. Reading ``request.identity`` raises an :class:`roomkey.AuthError` if
    the token is not valid. An ``AuthError`` that a view does not handle becomes a response as RFC 6750 describes: 401,
    403 or 503.
    """

    sync_capable = async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        request.identity = SimpleLazyObject(lambda: identity_of(request))
        return self._respond(request) if self._is_async else self.get_response(request)

    async def _respond(self, request: HttpRequest) -> Any:
        await _find(request)  # now: reading an attribute cannot wait
        return await self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Return the response for an :class:`roomkey.AuthError`."""
        return response_for(exception) if isinstance(exception, AuthError) else None


def requires(
    role: str | Iterable[str] | None = None,
    scope: str | Iterable[str] | None = None,
    *,
    max_auth_age: float | None = None,
) -> Callable[[View], View]:
    """Decorate a view, synchronous or asynchronous: it requires a valid token, and what the arguments name.

    The view finds the identity in ``request.identity``, also without the middleware.

    Args:
        role: a role, or several of which one is enough.
        scope: one or several scopes, which are all required.
        max_auth_age: the longest time in seconds since the user logged in.

    Raises:
        ConfigError: an invalid argument.
    """
    requirement = Requirement.of(role, scope, max_auth_age)

    def decorate(view: View) -> View:
        if inspect.iscoroutinefunction(view):

            @wraps(view)
            async def wait(request: HttpRequest, *arguments: Any, **named: Any) -> Any:
                refusal = _refusal(request, await _find(request), requirement)
                return await view(request, *arguments, **named) if refusal is None else refusal

            return wait  # type: ignore[return-value]

        @wraps(view)
        def call(request: HttpRequest, *arguments: Any, **named: Any) -> Any:
            refusal = _refusal(request, _find_blocking(request), requirement)
            return view(request, *arguments, **named) if refusal is None else refusal

        return call  # type: ignore[return-value]

    return decorate


def identity_of(request: HttpRequest) -> Identity:
    """Return the identity of a request's token; a guest without a token.

    Raises:
        AuthError: the token is not valid, or cannot be verified now.
    """
    found = _find_blocking(request)
    if isinstance(found, AuthError):
        raise found
    return found


def response_for(error: AuthError, requirement: Requirement | None = None) -> HttpResponse:
    """Return the response for a request without a usable token (RFC 6750 section 3)."""
    answer = error_response(error, requirement)
    return JsonResponse(answer.body, status=answer.status, headers=answer.headers | NO_STORE)


def _refusal(request: HttpRequest, found: Identity | AuthError, requirement: Requirement) -> HttpResponse | None:
    problem = found if isinstance(found, AuthError) else requirement.problem(found, time.time())
    if problem is not None:
        return response_for(problem, requirement)
    request.identity = found
    return None


def _find_blocking(request: HttpRequest) -> Identity | AuthError:
    """Return the identity of a request's token, or the error. It is found once for each request."""
    if not hasattr(request, FOUND):
        try:
            credential = credential_of(request)
            found = _verified_blocking(credential)
        except AuthError as error:
            found = error
        setattr(request, FOUND, found)
    return getattr(request, FOUND)  # type: ignore[no-any-return]


async def _find(request: HttpRequest) -> Identity | AuthError:
    if not hasattr(request, FOUND):
        found: Identity | AuthError
        try:
            credential = credential_of(request)
            found = Identity.guest() if credential is None else await guards.verify(*_token(credential))
        except AuthError as error:
            found = error
        setattr(request, FOUND, found)
    return getattr(request, FOUND)  # type: ignore[no-any-return]


def _verified_blocking(credential: Credential | None) -> Identity | AuthError:
    return Identity.guest() if credential is None else guards.verify_blocking(*_token(credential))


def _token(credential: Credential) -> tuple[str, str]:
    return credential.token, credential.source


def credential_of(request: HttpRequest) -> Credential | None:
    """Return the token that a request presents, or None.

    Raises:
        AuthError: several tokens, or something that is not a token.
    """
    meta, settings = request.META, configuration()
    parts = route_request(
        authorization=meta.get("HTTP_" + settings.way.header_name.upper().replace("-", "_")),
        cookie=meta.get("HTTP_COOKIE"),
        origin=meta.get("HTTP_ORIGIN"),
        fetch_site=meta.get("HTTP_SEC_FETCH_SITE"),
        scheme=request.scheme,
        host=meta.get("HTTP_HOST"),
        allowed_origins=settings.trusted_origins,
    )
    return find_credential(settings.way, None, parts)
