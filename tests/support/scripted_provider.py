"""An OpenID provider that signs and answers whatever a test wants, on a real port."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl

from support.tokens import part

from roomkey import Key

CLIENT = "chat"
LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"
OMIT = object()
"""As the value of a claim: the token has no such claim."""


class ScriptedProvider:
    """The provider.

    Attributes:
        issuer: its ``iss``.
        metadata: changes to its discovery document.
        claims: changes to the claims of its ID tokens.
        header: changes to their headers.
        answer: status and body of the token endpoint, instead of an ID token.
        nonce: of the login that is under way.
        codes: the forms that the token endpoint received, and their ``Authorization`` headers.
    """

    def __init__(self, port: int) -> None:
        self.issuer = f"http://127.0.0.1:{port}"
        self.key = Key.generate("ES256", kid="k1")
        self.metadata: dict[str, Any] = {}
        self.claims: dict[str, Any] = {}
        self.header: dict[str, Any] = {}
        self.answer: tuple[int, bytes] | None = None
        self.nonce = ""
        self.codes: list[tuple[dict[str, str], str | None]] = []
        self.requests: list[str] = []

    def sign(self, claims: dict[str, Any], header: dict[str, Any] | None = None, key: Key | None = None) -> str:
        """Return a signed token without the claims and members that are OMIT."""
        members = _given({"alg": "ES256", "kid": "k1"} | (header or {}))
        signing_input = f"{part(members)}.{part(_given(claims))}"
        return f"{signing_input}.{part((key or self.key).sign('ES256', signing_input.encode()))}"

    def id_token(self, **claims: Any) -> str:
        """Return an ID token for the login that is under way."""
        now = int(time.time())
        usual = {"iss": self.issuer, "sub": "ada", "aud": CLIENT, "exp": now + 60, "iat": now, "nonce": self.nonce}
        return self.sign(usual | {"sid": "s1"} | self.claims | claims, self.header)

    def logout_token(self, header: dict[str, Any] | None = None, key: Key | None = None, **claims: Any) -> str:
        """Return a logout token."""
        now = int(time.time())
        usual = {"iss": self.issuer, "sub": "ada", "sid": "s1", "aud": CLIENT, "exp": now + 120, "iat": now}
        usual |= {"jti": str(uuid.uuid4()), "events": {LOGOUT_EVENT: {}}}
        return self.sign(usual | claims, {"typ": "logout+jwt"} | (header or {}), key)

    def respond(self, path: str, form: dict[str, str], authorization: str | None) -> tuple[int, bytes]:
        """Return the response to a request."""
        self.requests.append(path)
        if path == "/.well-known/openid-configuration":
            document = {
                "issuer": self.issuer,
                "authorization_endpoint": f"{self.issuer}/auth",
                "token_endpoint": f"{self.issuer}/token",
                "jwks_uri": f"{self.issuer}/jwks",
                "authorization_response_iss_parameter_supported": True,
            }
            return 200, json.dumps(_given(document | self.metadata)).encode()
        if path == "/jwks":
            return 200, json.dumps({"keys": [self.key.to_jwk()]}).encode()
        self.codes.append((form, authorization))
        return self.answer or (200, json.dumps({"id_token": self.id_token(), "token_type": "Bearer"}).encode())


def _given(members: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not OMIT}


@contextmanager
def scripted_provider() -> Iterator[ScriptedProvider]:
    """Start a provider, which ends with the block."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self, form: dict[str, str] | None = None) -> None:
            status, body = provider.respond(self.path, form or {}, self.headers.get("authorization"))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            self.do_GET(dict(parse_qsl(body, strict_parsing=True)))

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        provider = ScriptedProvider(server.server_port)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield provider
        server.shutdown()
