"""The pages of the authorization endpoint: plain HTML that works without JavaScript and loads nothing (internal)."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from urllib.parse import urlsplit

from fastapi.responses import HTMLResponse
from pydantic import Field

from roomkey.auth.client_auth import Parameters
from roomkey.auth.http import NO_STORE
from roomkey.core.names import scope_names
from roomkey.stores import Client

__all__ = ["HEADERS", "AuthorizationForm", "AuthorizationRequest", "Pages"]

HEADERS = NO_STORE | {
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

_FOLDER = Path(__file__).parent / "pages"
PAGE, LOGIN, PASSWORD, STYLE, ICON = (
    (_FOLDER / name).read_text("utf-8").strip()
    for name in ("page.html", "login.html", "password.html", "style.css", "icon.svg")
)
STYLE_HASH = b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()

_ORIGIN = re.compile(r"https?://[A-Za-z0-9.\-\[\]:]+")


class AuthorizationRequest(Parameters):
    """The parameters with which a client sends a browser to this server."""

    response_type: str | None = Field(default=None, description="code")
    client_id: str | None = None
    redirect_uri: str | None = Field(default=None, description="exactly one of the client's redirect URIs")
    scope: str | None = Field(default=None, description="default: all scopes of the client")
    state: str | None = Field(default=None, description="returned unchanged")
    code_challenge: str | None = Field(default=None, description="RFC 7636 section 4.2")
    code_challenge_method: str | None = Field(default=None, description="S256")
    at_provider: str | None = Field(
        default=None, description="1 after a login at a provider, so that the page does not ask for a password"
    )


class AuthorizationForm(AuthorizationRequest):
    """The parameters together with the user's decision."""

    username: str | None = None
    password: str | None = Field(default=None, json_schema_extra={"format": "password"})
    decision: str | None = Field(default=None, description="deny, or anything else to allow")


class Pages:
    """Renders the pages.

    Args:
        title: the server's name on the pages.
    """

    def __init__(self, title: str) -> None:
        self._title = title

    def login(
        self,
        sent: AuthorizationRequest,
        client: Client,
        scope: str,
        problem: str = "",
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        buttons: Sequence[tuple[str, str]] = (),
    ) -> HTMLResponse:
        """Return the page with the login form.

        Args:
            sent: the request, whose parameters the form sends again.
            client: the OAuth client.
            scope: the scopes that it would get.
            problem: an error of the previous attempt.
            status: the HTTP status.
            headers: further headers of the response.
            buttons: the titles and paths of the providers at which the user can log in.
        """
        parameters = sent.model_dump(exclude={"username", "password", "decision"}, exclude_none=True)
        scopes = "".join(f"<li>{escape(one)}</li>" for one in scope_names(scope))
        if sent.at_provider is None:
            username = sent.username if isinstance(sent, AuthorizationForm) and sent.username else ""
            proof, question = PASSWORD.format(username=escape(username)), "Log in to let it."
        else:
            proof, question, buttons = "", "You are logged in. Let it?", ()
        content = LOGIN.format(
            client=escape(client.title or client.client_id),
            scopes=f" for:</p>\n<ul>{scopes}</ul>\n<p>{question}" if scopes else ".",
            problem=f'<p class="problem" role="alert">{escape(problem)}</p>\n' if problem else "",
            hidden="\n".join(_hidden(name, value) for name, value in parameters.items()),
            proof=proof,
            action="Allow" if sent.at_provider else "Log in and allow",
            providers="".join(_button(title, path) for title, path in buttons),
            destination=escape(urlsplit(sent.redirect_uri or "").hostname or "the application"),
        )
        return self._page("Log in", content, status, headers, sent.redirect_uri or "")

    def error(self, text: str, status: int = 400, headers: Mapping[str, str] | None = None) -> HTMLResponse:
        """Return a page that contains only an error."""
        content = f'<p class="problem" role="alert">{escape(text)}</p>\n<p>Go back, and try it from there again.</p>'
        return self._page("This did not work", content, status, headers)

    def _page(
        self, heading: str, content: str, status: int, headers: Mapping[str, str] | None, redirect_uri: str = ""
    ) -> HTMLResponse:
        page = PAGE.format(title=escape(self._title), heading=heading, style=STYLE, icon=ICON, content=content)
        policy = {"Content-Security-Policy": _policy(redirect_uri)}
        return HTMLResponse(page, status, HEADERS | policy | dict(headers or {}))


def _button(title: str, path: str) -> str:
    return f'<a class="button" href="{escape(path)}">Log in with {escape(title)}</a>\n'


def _hidden(name: str, value: str) -> str:
    return f'<input type="hidden" name="{name}" value="{escape(value)}">'


def _policy(redirect_uri: str) -> str:
    # Browsers also apply form-action to the redirect after the form.
    parts = urlsplit(redirect_uri)
    origin = f"{parts.scheme}://{parts.netloc}"
    target = origin if _ORIGIN.fullmatch(origin) else f"{parts.scheme}:" if parts.scheme else ""
    return (
        f"default-src 'none'; style-src 'sha256-{STYLE_HASH}'; form-action 'self' {target}; base-uri 'none'; "
        "frame-ancestors 'none'"
    ).replace(" ;", ";")
