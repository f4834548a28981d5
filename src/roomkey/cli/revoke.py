"""``roomkey token revoke``."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from roomkey import AuthError
from roomkey.cli.output import fail, iso, printable
from roomkey.cli.sources import ConfigOption, DatabaseOption, is_token, read_settings, read_token, seconds
from roomkey.cli.stores import revoking
from roomkey.core.issuer import MAX_TOKEN_LIFETIME
from roomkey.core.jws import decode_unverified
from roomkey.core.revocations import Revocation

__all__ = ["revoke"]


def revoke(
    file: Annotated[str | None, typer.Argument(help="File with the token; - reads standard input.")] = None,
    token_id: Annotated[str | None, typer.Option(help="The jti of one token.")] = None,
    session_id: Annotated[str | None, typer.Option(help="The sid of one login.")] = None,
    subject: Annotated[str | None, typer.Option(help="The sub of all tokens of one person.")] = None,
    issued_before: Annotated[
        str | None, typer.Option(help="With --subject: 2026-01-31T12:00Z, or seconds since the epoch; now if absent.")
    ] = None,
    expires_in: Annotated[
        str | None, typer.Option(help="As long as the tokens may still live: 900, 15m, 8h, 30d; 7d if absent.")
    ] = None,
    issuer: Annotated[str | None, typer.Option(help="Only tokens of this iss.")] = None,
    database: DatabaseOption = None,
    config: ConfigOption = None,
) -> None:
    """Cancel one token, one login, or all tokens of one person, and end their sockets.

    It works on every server that runs on this database, for good.
    """
    if sum(one is not None for one in (file, token_id, session_id, subject)) != 1:
        fail("say what to revoke, by one of --token-id, --session-id, --subject and FILE (- is standard input)", 2)
    if issued_before is not None and subject is None:
        fail("--issued-before goes with --subject", 2)
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
    revoking(settings, lambda _, revocations: revocations.revoke(revoked), create=False)
    typer.echo(f"revoked {_in_words(revoked)}; kept until {iso(until)}")
    typer.echo(f"running servers on {settings.database_name} end their sockets within a second")


def _of_token(file: str, issuer: str | None, until: float) -> tuple[str, str | None, float]:
    """A token's id, its issuer, and until when its revocation is kept: never shorter than the token lives."""
    if is_token(file):
        fail("no token on the command line, where others can read it: give a file, or - for standard input", 2)
    try:
        _, claims = decode_unverified(read_token(file))
    except AuthError as error:
        fail(f"this is no token: {error}")
    found: Any = claims.get("jti")
    if not isinstance(found, str):
        fail("the token has no jti to revoke it by: roomkey token revoke --subject NAME")
    its_issuer, expires_at = claims.get("iss"), claims.get("exp")
    if issuer is None and isinstance(its_issuer, str):
        issuer = its_issuer
    lives = expires_at if isinstance(expires_at, (int, float)) else until
    return found, issuer, max(until, lives)


def _lifetime(text: str) -> int:
    lifetime = seconds(text)
    if lifetime <= 0:
        raise typer.BadParameter("--expires-in takes more than 0 seconds")
    return lifetime


def _moment(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter("--issued-before takes 2026-01-31T12:00Z, or seconds since the epoch") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _in_words(revoked: Revocation) -> str:
    name = printable(revoked.name)
    words = {
        "token": f"the token {name}",
        "session": f"all tokens of the login {name}",
        "subject": f"all tokens of {name} issued up to {iso(revoked.issued_before)}",
    }[revoked.kind]
    return words if revoked.issuer is None else f"{words} by {printable(revoked.issuer)}"
