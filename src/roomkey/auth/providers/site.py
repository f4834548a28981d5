"""Logins at OpenID providers, with what browsers need for them: an address and cookies (internal)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal
from urllib.parse import quote, urlsplit

from fastapi import Request
from fastapi.responses import Response

from roomkey.auth.http import OAuthError
from roomkey.auth.login_service import LoginService
from roomkey.auth.providers.accounts import ProviderAccounts
from roomkey.auth.providers.attempts import is_local_path
from roomkey.auth.providers.config import LoginProvider
from roomkey.auth.providers.logins import ProviderLogins, Taken
from roomkey.core.cookies import cookie_values
from roomkey.core.urls import is_confidential
from roomkey.errors import ConfigError
from roomkey.stores import SingleUseStore

__all__ = ["ATTEMPT_COOKIE", "HANDOVER_COOKIE", "LoginProviders"]

ATTEMPT_COOKIE, HANDOVER_COOKIE = "roomkey-attempt", "roomkey-login"


class LoginProviders:
    """The OpenID providers at which the users of a login server can log in.

    Args:
        logins: starts and ends the login sessions.
        providers: the providers.
        accounts: finds the accounts of their users, such as :class:`roomkey.auth.LinkedAccounts`.
        single_use: stores what can be used once.
        url: this server's address as browsers know it, such as ``https://chat.example``. Default: the address of each
            request, which must be on this machine.
        prefix: the path before the routes of :func:`roomkey.auth.provider_router`.

    Raises:
        ConfigError: ``url`` is not such an address, or two providers have the same name or issuer.
    """

    def __init__(
        self,
        logins: LoginService,
        providers: Iterable[LoginProvider],
        accounts: ProviderAccounts,
        single_use: SingleUseStore,
        *,
        url: str | None = None,
        prefix: str = "/auth/providers",
    ) -> None:
        if url is not None and (not is_confidential(url) or url != "{0.scheme}://{0.netloc}".format(urlsplit(url))):
            raise ConfigError(
                f"invalid url {url!r} for logins at providers; use the server's address, with https (http only on "
                "this machine) and without a path"
            )
        self.logins = ProviderLogins(logins, providers, accounts, single_use)
        self.prefix = prefix
        self._url = url

    def buttons(self, return_to: str = "/") -> list[tuple[str, str]]:
        """Return the title of each provider and the path that begins a login there.

        Args:
            return_to: the path of the page that the browser opens in the end. If it is too long, there is no button.
        """
        if not is_local_path(return_to):
            return []
        query = "" if return_to == "/" else f"?return_to={quote(return_to, safe='/')}"
        return [(one.shown_title, f"{self.prefix}/{one.name}/login{query}") for one in self.logins.providers]

    async def take(self, request: Request) -> Taken:
        """Return who has just logged in at a provider in this browser, once.

        Raises:
            InvalidGrant: nobody, or too long ago.
            Unavailable: a store does not respond.
        """
        return await self.logins.take(self.cookie(request, HANDOVER_COOKIE))

    def base(self, request: Request) -> str:
        """Return this server's address.

        Raises:
            OAuthError: it is not configured, and the request does not say that it is on this machine.
        """
        base = self._url or f"{request.url.scheme}://{request.url.netloc}"
        if self._url is None and not (request.url.scheme == "http" and is_confidential(base)):
            raise OAuthError("server_error", "This server's address is not configured.", 503)
        return base

    def redirect_uri(self, request: Request, name: str) -> str:
        """Return the address to which the provider sends the browser back, as it is registered there."""
        return f"{self.base(request)}{self.prefix}/{name}/callback"

    def _cookie_name(self, request: Request, name: str) -> str:
        # The prefix binds a cookie to this host and to HTTPS: a neighboring host cannot set it (RFC 6265bis 4.1.3.2).
        return f"__Host-{name}" if self.base(request).startswith("https:") else name

    def cookie(self, request: Request, name: str) -> str:
        """Return the value of a cookie; empty if there is none, or several."""
        values = cookie_values("; ".join(request.headers.getlist("cookie")), self._cookie_name(request, name))
        return values[0] if len(values) == 1 else ""

    def set_cookie(
        self, request: Request, response: Response, name: str, value: str, age: int, site: Literal["lax", "strict"]
    ) -> None:
        """Set a cookie that scripts cannot read; an age of 0 deletes it."""
        full = self._cookie_name(request, name)
        secure = full.startswith("__Host-")
        response.set_cookie(full, value, max_age=age, path="/", secure=secure, httponly=True, samesite=site)
