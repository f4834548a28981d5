"""``roomkey token revoke``."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from roomkey import AuthError
from roomkey.cli.output import fail, iso, printable
from roomkey.cli.sources import ConfigOption, DatabaseOption, is_token, read_settings, read_token, seconds
from roomkey.cli.stores import with_revocations
from roomkey.core.issuer import MAX_TOKEN_LIFETIME
from roomkey.core.jws import decode_unverified
from roomkey.core.revocations import Revocation

__all__ = ["revoke"]


def revoke(
    file: Annotated[str | None, typer.Argument(help="File with the token; - reads standard input.")] = None,
    token_id: Annotated[str | None, typer.Option(help="ID (jti) of a token.")] = None,
    session_id: Annotated[str | None, typer.Option(help="ID (sid) of a login session.")] = None,
    subject: Annotated[str | None, typer.Option(help="Subject (sub): revoke all of its tokens.")] = None,
    issued_before: Annotated[
        str | None, typer.Option(help="With --subject: 2026-01-31T12:00Z or seconds since the epoch. Default: now.")
    ] = None,
    expires_in: Annotated[
        str | None, typer.Option(help="Remaining token lifetime, such as 900, 15m, 8h or 30d. Default: 7d.")
    ] = None,
    issuer: Annotated[str | None, typer.Option(help="Revoke only tokens of this issuer (iss).")] = None,
    database: DatabaseOption = None,
    config: ConfigOption = None,
) -> None:
    """Revoke a token, a login session or all tokens of a subject, and disconnect their sockets.

    The revocation applies to every server on this database and survives restarts.
    """
    if sum(one is not None for one in (file, token_id, session_id, subject)) != 1:
        fail("use exactly one of --token-id, --session-id, --subject and FILE (- reads standard input)", 2)
    if issued_before is not None and subject is None:
        fail("--issued-before requires --subject", 2)
    settings, now = read_settings(config, database=database), time.time()

    until = now + (MAX_TOKEN_LIFETIME if expires_in is None else _lifetime(expires_in))
    if file is not None:
        token_id, issuer, until = _of_token(file, issuer, until)
    revoked = Revocation.of(
        token_id=token_id,
        session_id=session_id,
        subject=subject,
        issuer=issuer,
        issued_before=None if issued_before is None else _moment(issued_before),
        expires_at=until,
        now=now,
    )
    with_revocations(settings, lambda _, revocations: revocations.revoke(revoked), create=False)
    typer.echo(f"revoked {_in_words(revoked)}; kept until {iso(until)}")
    typer.echo(f"running servers on {settings.database_name} disconnect their sockets within a second")


def _of_token(file: str, issuer: str | None, until: float) -> tuple[str, str | None, float]:
    """Return a token's ID, its issuer and the time until which to keep its revocation: at least until its expiry."""
    if is_token(file):
        fail("remove the token: other users can read the command line; use a file, or - for standard input", 2)
    try:
        _, claims = decode_unverified(read_token(file))
    except AuthError as error:
        fail(f"not a token: {error}")
    token_id: Any = claims.get("jti")
    if not isinstance(token_id, str):
        fail("the token has no jti; revoke its subject instead: roomkey token revoke --subject NAME")
    claimed_issuer, expires_at = claims.get("iss"), claims.get("exp")
    if issuer is None and isinstance(claimed_issuer, str):
        issuer = claimed_issuer
    expiry = expires_at if isinstance(expires_at, (int, float)) else until
    return token_id, issuer, max(until, expiry)


def _lifetime(text: str) -> int:
    lifetime = seconds(text)
    if lifetime <= 0:
        raise typer.BadParameter("--expires-in must be more than 0 seconds")
    return lifetime


def _moment(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            "--issued-before must be a time, such as 2026-01-31T12:00Z, or seconds since the epoch"
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _in_words(revoked: Revocation) -> str:
    name = printable(revoked.name)
    words = {
        "token": f"the token {name}",
        "session": f"all tokens of the login session {name}",
        "subject": f"all tokens of {name} issued up to {iso(revoked.issued_before)}",
    }[revoked.kind]
    return words if revoked.issuer is None else f"{words} by {printable(revoked.issuer)}"
