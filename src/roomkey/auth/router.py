"""The login routes, for FastAPI. An application mounts them with ``app.include_router(router(accounts, issuer))``.

Answers and errors have the form of an OAuth 2.0 token endpoint (RFC 6749 sections 5.1 and 5.2).
"""

from __future__ import annotations

import json
import logging
from typing import Any, Literal
from urllib.parse import parse_qsl

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from roomkey.auth.passwords import MAX_PASSWORD_BYTES, Passwords
from roomkey.core.issuer import Issuer
from roomkey.errors import Unavailable
from roomkey.stores.accounts import Account, Accounts

__all__ = ["LoginError", "TokenAnswer", "router"]

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
MAX_BODY = 16 * 1024
# RFC 6749 section 5.1: an answer with a token in it is kept nowhere.
NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}
WRONG = "The username or the password is wrong."

audit = logging.getLogger("roomkey.audit")


class LoginRequest(BaseModel):
    """Who wants a token."""

    username: str = Field(min_length=1)
    password: str = Field(
        min_length=1,
        json_schema_extra={"format": "password"},
        description=f"at most {MAX_PASSWORD_BYTES} bytes",
    )


class TokenAnswer(BaseModel):
    """A token (RFC 6749 section 5.1)."""

    access_token: str = Field(description="a JSON Web Token: the room key")
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - a type, not a password
    expires_in: int = Field(description="lifetime in seconds")


class LoginError(BaseModel):
    """Why there is none (RFC 6749 section 5.2)."""

    error: Literal["invalid_request", "invalid_grant", "temporarily_unavailable"]
    error_description: str


class _Refused(Exception):
    def __init__(self, status: int, error: LoginError, headers: dict[str, str] | None = None) -> None:
        self.status = status
        self.error = error
        self.headers = headers or {}


def router(
    accounts: Accounts, issuer: Issuer, *, passwords: Passwords | None = None, prefix: str = "/auth"
) -> APIRouter:
    """The login server as routes.

    Args:
        accounts: who may log in.
        issuer: makes the tokens; its ``expires_in`` is their lifetime in seconds.
        passwords: checks the passwords; :class:`Passwords` with its defaults if absent.
        prefix: the path in front of ``/login``.

    Returns:
        A router with ``POST {prefix}/login``.
    """
    checker = passwords if passwords is not None else Passwords()
    routes = APIRouter(prefix=prefix, tags=["login"])

    @routes.post(
        "/login",
        summary="Log in with a username and a password",
        response_model=TokenAnswer,
        responses={
            400: {
                "model": LoginError,
                "description": "The request is broken, or the name or password is wrong.",
            },
            413: {"model": LoginError, "description": f"The body has more than {MAX_BODY} bytes."},
            503: {
                "model": LoginError,
                "description": "Too many logins at once; try again after Retry-After seconds.",
            },
        },
        openapi_extra={"requestBody": _request_body()},
    )
    async def login(request: Request) -> JSONResponse:
        try:
            typed = await _read(request)
            account = await _authenticate(accounts, checker, typed, _address(request))
        except _Refused as refused:
            return JSONResponse(refused.error.model_dump(), refused.status, NO_STORE | refused.headers)
        token = issuer.issue(account.username, roles=account.roles, rooms=account.rooms)
        answer = TokenAnswer(access_token=token, expires_in=int(issuer.expires_in))
        return JSONResponse(answer.model_dump(), headers=NO_STORE)

    return routes


async def _authenticate(accounts: Accounts, passwords: Passwords, typed: LoginRequest, address: str) -> Account:
    """The account, if name and password are right; the same answer for every way in which they are not."""
    account = await accounts.find(typed.username)
    try:
        right = await passwords.verify(account.password_hash if account else None, typed.password)
    except Unavailable:
        _record("refused", account, address, "too many logins at once")
        busy = LoginError(error="temporarily_unavailable", error_description="Too many logins at once; try again.")
        raise _Refused(503, busy, {"Retry-After": "1"}) from None
    if account is None or account.disabled or not right:
        reason = "no such user" if account is None else "disabled" if account.disabled else "wrong password"
        _record("refused", account, address, reason)
        raise _Refused(400, LoginError(error="invalid_grant", error_description=WRONG))
    _record("granted", account, address, "password")
    return account


def _record(outcome: str, account: Account | None, address: str, reason: str) -> None:
    # An unknown name is not written down: people type their password into the wrong field.
    entry = {"event": "login", "outcome": outcome, "sub": account and account.username, "reason": reason}
    level = logging.INFO if outcome == "granted" else logging.WARNING
    audit.log(level, "%s", json.dumps(entry | {"address": address}))


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


async def _read(request: Request) -> LoginRequest:
    """The typed name and password, from JSON or a form (HTML, ``application/x-www-form-urlencoded``)."""
    body = await _bounded_body(request)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in (JSON, FORM):
        raise _invalid(f"Send {JSON} or {FORM}.")
    try:
        return LoginRequest.model_validate(json.loads(body) if kind == JSON else _form(body), strict=True)
    except (ValueError, RecursionError):
        raise _invalid("Send username and password, each a string.") from None


def _form(body: bytes) -> dict[str, str]:
    pairs = parse_qsl(body.decode("utf-8"), keep_blank_values=True, errors="strict", max_num_fields=20)
    fields = dict(pairs)
    if len(fields) != len(pairs):  # RFC 6749 section 3.2: parameters are not repeated
        raise ValueError("a repeated field")
    return fields


async def _bounded_body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise _Refused(413, LoginError(error="invalid_request", error_description="The body is too large."))
    return body


def _invalid(why: str) -> _Refused:
    return _Refused(400, LoginError(error="invalid_request", error_description=why))


def _request_body() -> dict[str, Any]:
    schema = {"schema": LoginRequest.model_json_schema()}
    return {"required": True, "content": {JSON: schema, FORM: schema}}
