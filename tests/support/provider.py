"""A real OpenID provider (oidc-provider, in Node) on a port that the system chooses: ``tests/js/provider.js``.

All calls wait for their answer, a few milliseconds. In asynchronous tests that have a server in the same event loop,
call what makes the provider call that server with ``asyncio.to_thread``.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

import httpx
import pytest
from joserfc import jws
from joserfc.jwk import ECKey
from support.missing import missing
from support.tokens import b64

JS = Path(__file__).parents[1] / "js"
PATIENCE = 20.0
CLIENT, CLIENT_SECRET = "roomkey", "for-tests-only-" + "s" * 32
BACK = "http://127.0.0.1:9/back"  # nobody listens there: the address is read, and not opened
VERIFIER = "a-verifier-for-tests-0123456789-0123456789-01"


class _Form(HTMLParser):
    """The last form of a page, as a browser would send it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        self.action = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attributes}
        if tag == "form":
            self.fields, self.action = {}, named["action"]
        if tag == "input" and "name" in named:
            self.fields[named["name"]] = named.get("value", "")


class Browser:
    """A person's browser: it has the provider's cookies, and types what the provider asks for."""

    def __init__(self, provider: Provider, subject: str) -> None:
        self.provider, self.subject = provider, subject
        self.http = httpx.Client(timeout=PATIENCE)

    def follow(self, url: str) -> str:
        """Open an authorization URL, log in and consent, and return the address to which the provider redirects."""
        response = self.http.get(url)
        while True:
            while response.has_redirect_location:
                url = urljoin(str(response.url), response.headers["location"])
                if not url.startswith(self.provider.issuer):
                    return url
                response = self.http.get(url)
            assert response.status_code == 200, response.text
            response = self._submit(response, login=self.subject, password="any")

    def log_out(self, id_token: str) -> None:
        """End the session at the provider, which then sends its back-channel logouts."""
        url = f"{self.provider.issuer}/session/end?{urlencode({'id_token_hint': id_token})}"
        response = self._submit(self.http.get(url), logout="yes")
        assert response.has_redirect_location, response.text

    def _submit(self, page: httpx.Response, **typed: str) -> httpx.Response:
        form = _Form(page.text)
        filled = form.fields | {name: value for name, value in typed.items() if name in form.fields or name == "logout"}
        return self.http.post(urljoin(str(page.url), form.action), data=filled)


class Provider:
    """The provider, as tests control it.

    Attributes:
        issuer: its ``iss``, ``http://127.0.0.1:PORT``.
    """

    def __init__(self) -> None:
        command = ["node", str(JS / "provider.js")]
        self._process = subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.issuer: str = self._answer()["issuer"]
        self.client(CLIENT, redirect_uris=[BACK], token_endpoint_auth_method="client_secret_basic")
        for alg in ("RS256", "ES256", "EdDSA"):
            self._service(f"service-{alg}", token_alg=alg)
        self._service("service-opaque", token_format="opaque")

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the provider ended: see its error above"
        return json.loads(line)

    def _do(self, name: str, **details: Any) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": name, **details}) + "\n")
        self._process.stdin.flush()
        return self._answer()["done"]

    def client(self, client_id: str, **metadata: Any) -> None:
        """Register a client by RFC 7591's names, or replace it. By default it uses codes and has a secret.

        Args:
            metadata: ``backchannel_logout_uri`` switches back-channel logout on; ``token_format`` (jwt or opaque) and
                ``token_alg`` say what its access tokens look like.
        """
        usual = {
            "client_secret": CLIENT_SECRET,
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
        }
        self._do("client", client_id=client_id, **usual | metadata)

    def _service(self, client_id: str, **metadata: Any) -> None:
        self.client(client_id, grant_types=["client_credentials"], response_types=[], redirect_uris=[], **metadata)

    def account(self, subject: str, extra: dict[str, Any] | None = None, **claims: Any) -> None:
        """Set the claims of a person (``groups``, ``realm_access``, ``email``, ``name``…).

        Args:
            subject: a person, or the ID of a client that gets tokens by client credentials.
            extra: what the subject's access tokens contain in addition.
        """
        self._do("account", id=subject, claims=claims, extra=extra)

    # What may happen to a provider

    def rotate(self, *, keep_old: bool = True) -> list[str]:
        """Sign with new keys from now on, and return the ``kid`` of each published key."""
        kids: list[str] = self._do("rotate", keep=keep_old)
        return kids

    def down(self) -> None:
        """Refuse connections."""
        self._do("down")

    def up(self) -> None:
        """Listen on the same port again. Keys, sessions and clients are the same."""
        self._do("up")

    def delay(self, seconds: float) -> None:
        """Wait this long before each answer."""
        self._do("delay", ms=seconds * 1000)

    def requests(self, path: str = "/jwks") -> int:
        """Return how often this path was requested."""
        return int(self._do("counts").get(path, 0))

    def logouts(self) -> list[str]:
        """Return the outcomes of all back-channel logouts: ``sent``, or an error."""
        outcomes: list[str] = self._do("logouts")
        return outcomes

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()

    # Tokens

    def access_token(
        self, resource: str, alg: str = "RS256", *, opaque: bool = False, bound_to: ECKey | None = None
    ) -> str:
        """Return an access token by client credentials, whose subject is the client ``service-ALG``.

        Args:
            resource: its audience, an absolute URI.
            alg: RS256, ES256 or EdDSA.
            opaque: a random string that only introspection can check. It has no ``sub``.
            bound_to: the key to which the token is bound (DPoP, RFC 9449).
        """
        headers = {} if bound_to is None else {"DPoP": proof(bound_to, "POST", f"{self.issuer}/token")}
        form = {"grant_type": "client_credentials", "resource": resource, "scope": "read"}
        client = "service-opaque" if opaque else f"service-{alg}"
        token: str = self.token(form, client=client, headers=headers)["access_token"]
        return token

    def token(
        self, form: dict[str, str], *, client: str = CLIENT, headers: dict[str, str] | None = None
    ) -> dict[str, Any]:
        """Return the answer of the token endpoint."""
        auth = (client, CLIENT_SECRET)
        response = httpx.post(f"{self.issuer}/token", data=form, auth=auth, headers=headers, timeout=PATIENCE)
        assert response.status_code == 200, response.text
        tokens: dict[str, Any] = response.json()
        return tokens

    def browser(self, subject: str) -> Browser:
        return Browser(self, subject)

    def log_in(
        self,
        browser: Browser,
        *,
        resource: str | None = None,
        scope: str = "openid offline_access read",
        client: str = CLIENT,
        bound_to: ECKey | None = None,
    ) -> dict[str, Any]:
        """Log a person in, as a client does, and return ``id_token``, ``access_token`` and ``refresh_token``.

        Args:
            resource: the audience of the access token, which is a JWT then. If omitted, the token is opaque.
        """
        named = {} if resource is None else {"resource": resource}
        request = {
            "client_id": client,
            "response_type": "code",
            "redirect_uri": BACK,
            "scope": scope,
            "prompt": "consent",
            "code_challenge": b64(hashlib.sha256(VERIFIER.encode()).digest()),
            "code_challenge_method": "S256",
        }
        back = dict(parse_qsl(urlsplit(browser.follow(f"{self.issuer}/auth?{urlencode(request | named)}")).query))
        assert back.get("iss") == self.issuer, back
        code = {"grant_type": "authorization_code", "code": back["code"], "redirect_uri": BACK}
        headers = {} if bound_to is None else {"DPoP": proof(bound_to, "POST", f"{self.issuer}/token")}
        return self.token(code | named | {"code_verifier": VERIFIER}, client=client, headers=headers)


def proof(key: ECKey, method: str, url: str, **claims: Any) -> str:
    """Return a DPoP proof for a request to the provider (RFC 9449 section 4.2)."""
    header = {"typ": "dpop+jwt", "alg": "ES256", "jwk": key.as_dict(private=False)}
    payload = {"htm": method, "htu": url, "iat": int(time.time()), "jti": str(uuid.uuid4()), **claims}
    return jws.serialize_compact(header, json.dumps(payload), key)


@contextmanager
def running_provider() -> Iterator[Provider]:
    """Start a provider, which ends with the block. Without its npm package the test is skipped, and fails in CI."""
    if shutil.which("node") is None or not (JS / "node_modules" / "oidc-provider").is_dir():
        missing("oidc-provider is not installed; with Node 20 or later: npm ci --prefix tests/js")
    provider = Provider()
    try:
        yield provider
    finally:
        provider.stop()


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    """Return a provider for the tests of one module."""
    with running_provider() as running:
        yield running
