"""The route ``GET /metrics``, and who can read it.

Metrics say how busy a server is and which attacks it refuses, so they are not for everybody. They are read by:

- programs on this machine, over its loopback address and without a proxy;
- an OAuth client with a secret and the scope ``roomkey:metrics``, by HTTP Basic authentication;
- operators, with their access token.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from roomkey.extras import needs

with needs("server", "roomkey.server.metrics_route"):
    from fastapi import APIRouter, Request
    from fastapi.responses import Response

from roomkey.auth import LoginService
from roomkey.auth.client_auth import ClientAuthenticator, ClientFields, invalid_client
from roomkey.auth.http import NO_STORE, OAuthError, error_responses, get_and_head, oauth_errors
from roomkey.guard.guard import AsyncioGuard
from roomkey.server.metrics import CONTENT_TYPE, Metrics
from roomkey.server.operators import OperatorAccess, Operators
from roomkey.server.request_hardening import PROXIED
from roomkey.server.settings import is_loopback
from roomkey.stores import Stores

__all__ = ["SCOPE", "metrics_router"]

SCOPE = "roomkey:metrics"


def metrics_router(
    metrics: Metrics, logins: LoginService, stores: Stores, guard: AsyncioGuard, *, behind_proxy: bool
) -> APIRouter:
    """Return the route.

    Args:
        metrics: collects the numbers.
        logins: its issuer signs the tokens of operators.
        stores: the accounts and the OAuth clients.
        guard: verifies operators' tokens.
        behind_proxy: a proxy on this machine may forward requests of strangers, so that the loopback address says
            nothing about who asks.
    """
    operators = OperatorAccess(guard, Operators(logins.issuer.issuer, stores.accounts, stores.clients))
    clients = ClientAuthenticator(stores.clients, logins.throttles.clients)
    routes = APIRouter(tags=["operations"])
    text = {"description": "The Prometheus text format.", "content": {CONTENT_TYPE: {}}}

    async def authorize(request: Request) -> None:
        if not behind_proxy and is_from_here(request):
            return
        if request.headers.get("authorization", "")[:6].lower() != "basic ":
            await operators.authorize(request)
            return
        client = await clients.authenticate(request, ClientFields())
        if client.secret_hash is None:
            raise invalid_client("Only a client with a secret can read the metrics.")
        if SCOPE not in client.scopes:
            raise OAuthError("insufficient_scope", f"The client needs the scope {SCOPE}.", 403)

    @get_and_head(
        routes,
        "/metrics",
        summary="Get the metrics of this machine's workers, for Prometheus",
        response_class=Response,
        responses={200: text, **error_responses(401, 403, 429)},
    )
    @oauth_errors
    async def read(request: Request) -> Response:
        await authorize(request)
        return Response(await metrics.scrape(), headers=NO_STORE | {"Content-Type": CONTENT_TYPE})

    return routes


def is_from_here(request: Request) -> bool:
    """Return True if a program on this machine sent the request itself: not a proxy, and not a page in a browser."""
    if request.client is None or not is_loopback(request.client.host):
        return False
    if request.scope.get(PROXIED, True) or "origin" in request.headers or "sec-fetch-site" in request.headers:
        return False
    try:
        host = urlsplit(f"//{request.headers.get('host', '')}").hostname
    except ValueError:
        return False
    return host is not None and is_loopback(host)
