"""The public keys as a route, for whoever verifies tokens elsewhere: ``GET /.well-known/jwks.json``.

An application mounts it with ``app.include_router(jwks_router(folder.accepted))``.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from roomkey.auth.http import readable
from roomkey.core.keys import KeySet, LiveKeySet

__all__ = ["MAX_AGE", "JwkSet", "jwks_router"]

MEDIA_TYPE = "application/jwk-set+json"  # RFC 7517 section 8.5.2
MAX_AGE = 300
"""Seconds; half the time for which a new key is published before it signs, so that no cache misses it."""


class JwkSet(BaseModel):
    """A JWK Set (RFC 7517 section 5)."""

    keys: list[dict[str, Any]] = Field(description="public keys; none where tokens are signed with a shared secret")


def jwks_router(
    keys: KeySet | LiveKeySet,
    *,
    max_age: int = MAX_AGE,
    path: str = "/.well-known/jwks.json",
    clock: Callable[[], float] = time.time,
) -> APIRouter:
    """The public keys as a route. Private halves and shared secrets are never in it, whatever ``keys`` holds.

    Args:
        keys: what tokens are verified with, such as :meth:`roomkey.keysets.folder.KeyFolder.accepted`: the keys that
            sign next, sign now, and have signed tokens that are still good.
        max_age: seconds for which a copy may be kept: at most half the time from publishing a key to signing with it.
        path: where.
        clock: seconds since the epoch.

    Returns:
        A router with ``GET {path}``.
    """
    routes = APIRouter(tags=["keys"])

    # It is public: a page of any origin may read it, and every cache may keep it.
    shared = {"Cache-Control": f"public, max-age={max_age}", "Access-Control-Allow-Origin": "*"}

    @readable(
        routes,
        path,
        summary="The public keys of the tokens (JWK Set)",
        response_class=Response,
        responses={
            200: {"description": "The keys.", "content": {MEDIA_TYPE: {"schema": JwkSet.model_json_schema()}}},
            304: {"description": "They are those of If-None-Match."},
        },
    )
    async def jwks(request: Request) -> Response:
        held = keys if isinstance(keys, KeySet) else keys(clock())
        body = json.dumps(held.to_jwks(), separators=(",", ":")).encode()
        tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        headers = shared | {"ETag": tag}
        if _matches(request.headers.get("if-none-match", ""), tag):
            return Response(status_code=304, headers=headers)
        return Response(body, media_type=MEDIA_TYPE, headers=headers)

    return routes


def _matches(asked: str, tag: str) -> bool:
    """If-None-Match, compared weakly, because a proxy that compresses makes tags weak (RFC 9110 section 13.1.2)."""
    return asked.strip() == "*" or tag in (one.strip().removeprefix("W/") for one in asked.split(","))
