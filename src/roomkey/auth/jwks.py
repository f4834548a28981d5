"""The route of the public keys, for servers that verify tokens (internal; import from :mod:`roomkey.auth`).

Mount it with ``app.include_router(jwks_router(folder.accepted))``.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from roomkey.auth.http import get_and_head
from roomkey.core.key_set import KeySet, LiveKeySet

__all__ = ["MAX_AGE", "JwkSet", "jwks_router"]

MEDIA_TYPE = "application/jwk-set+json"  # RFC 7517 section 8.5.2
MAX_AGE = 300
"""Seconds for caches: half the time between publishing a key and signing with it, so that no cache misses the key."""


class JwkSet(BaseModel):
    """A JWK Set (RFC 7517 section 5)."""

    keys: list[dict[str, Any]] = Field(description="public keys; none if tokens are signed with a shared secret")


def jwks_router(
    keys: KeySet | LiveKeySet,
    *,
    max_age: int = MAX_AGE,
    path: str = "/.well-known/jwks.json",
    clock: Callable[[], float] = time.time,
) -> APIRouter:
    """Return a router with the public keys. It never shows private keys and shared secrets, even if ``keys`` has them.

    Args:
        keys: the keys that verify tokens, such as :meth:`roomkey.keysets.folder.KeyFolder.accepted`: the next, the
            current and the previous signing keys.
        max_age: seconds for which caches may store a copy: at most half the time between publishing a key and signing
            with it.
        path: the path of the route.
        clock: seconds since the epoch.

    Returns:
        A router with ``GET {path}``.
    """
    routes = APIRouter(tags=["keys"])

    # It is public: web pages of any origin may read it, and every cache may store it.
    headers_for_all = {"Cache-Control": f"public, max-age={max_age}", "Access-Control-Allow-Origin": "*"}

    @get_and_head(
        routes,
        path,
        summary="Get the public keys that verify tokens (JWK Set)",
        response_class=Response,
        responses={
            200: {"description": "The keys.", "content": {MEDIA_TYPE: {"schema": JwkSet.model_json_schema()}}},
            304: {"description": "The keys have not changed since If-None-Match."},
        },
    )
    async def jwks(request: Request) -> Response:
        current = keys if isinstance(keys, KeySet) else keys(clock())
        body = json.dumps(current.to_jwks(), separators=(",", ":")).encode()
        tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        headers = headers_for_all | {"ETag": tag}
        if _matches(request.headers.get("if-none-match", ""), tag):
            return Response(status_code=304, headers=headers)
        return Response(body, media_type=MEDIA_TYPE, headers=headers)

    return routes


def _matches(asked: str, tag: str) -> bool:
    """Compare If-None-Match weakly, because a compressing proxy makes tags weak (RFC 9110 section 13.1.2)."""
    return asked.strip() == "*" or tag in (one.strip().removeprefix("W/") for one in asked.split(","))
