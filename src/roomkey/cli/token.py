"""``roomkey token``: issue, inspect and revoke tokens."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Annotated, Any, Unpack

import typer

from roomkey import AuthError, Issuer, Verifier
from roomkey.cli.output import fail, iso, printable, relative
from roomkey.cli.provider import key_facts, provider_of
from roomkey.cli.revoke import revoke
from roomkey.cli.sources import (
    SECRET,
    AlgorithmOption,
    ConfigOption,
    KeyFileOption,
    KeySource,
    RoleOption,
    RoomOption,
    SecretFileOption,
    claimed_issuer,
    find_source,
    read_token,
    seconds,
)
from roomkey.core.issuer import MAX_TOKEN_LIFETIME
from roomkey.core.jws import decode_unverified
from roomkey.core.presets import PRESETS
from roomkey.core.verifier_settings import VerifierSettings
from roomkey.errors import ConfigError
from roomkey.keysets import verify_blocking
from roomkey.server.config_file import read_config

if TYPE_CHECKING:
    from roomkey.server.provider_tokens import ProviderTokens

app = typer.Typer(help="Issue, inspect and revoke tokens.", no_args_is_help=True, rich_markup_mode=None)
app.command("revoke")(revoke)

TIMES = ("exp", "iat", "nbf", "auth_time")


@app.command()
def issue(
    subject: Annotated[str, typer.Argument(help="Subject (sub) of the token.")],
    role: RoleOption = None,
    room: RoomOption = None,
    scope: Annotated[list[str] | None, typer.Option(help="Scope to grant. Repeatable.")] = None,
    expires_in: Annotated[str, typer.Option(help="Lifetime, such as 900, 15m, 8h or 30d.")] = "15m",
    claim: Annotated[
        list[str] | None, typer.Option(help="Claim to add, as name=value; the value is JSON or text. Repeatable.")
    ] = None,
    issuer: Annotated[
        str | None, typer.Option(help="Issuer (iss). Default with the server's keys: its issuer.")
    ] = None,
    audience: Annotated[
        str | None, typer.Option(help="Audience (aud). Default with the server's keys: its audience.")
    ] = None,
    key_file: KeyFileOption = None,
    secret_file: SecretFileOption = None,
    algorithm: AlgorithmOption = None,
    config: ConfigOption = None,
) -> None:
    """Issue a token and print it.

    Without --key-file and --secret-file, the command signs with ROOMKEY_SECRET. If that is not set, it signs as the
    server does: with ROOMKEY_KEY, else with the signing key in the server's folder.
    """
    source = find_source(key_file=key_file, secret_file=secret_file, algorithm=algorithm, config=config)
    if source is None:
        fail(f"no signing key; create one with `roomkey keys new`, or use --key-file, --secret-file or {SECRET}")
    maker = Issuer(
        source.signing(),
        algorithm=source.algorithms[0],
        issuer=issuer or source.issuer,
        audience=audience or source.audience,
        max_token=source.max_token,
    )
    lifetime = seconds(expires_in)
    if lifetime > MAX_TOKEN_LIFETIME:
        typer.echo(f"revocations are not kept that long; to revoke it, use --expires-in {expires_in}", err=True)
    made = maker.issue(
        subject,
        expires_in=lifetime,
        roles=role or (),
        rooms=room or (),
        scopes=scope or (),
        claims=dict(_claim(text) for text in claim or ()),
    )
    typer.echo(made)


def _claim(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise typer.BadParameter(f"--claim must be name=value, not {text!r}")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _place(text: str) -> tuple[str, str]:
    name, equals, place = text.partition("=")
    if not (name and equals):
        raise typer.BadParameter(f"--map must be name=place, not {text!r}")
    return name, place


@app.command()
def inspect(
    file: Annotated[
        str,
        typer.Argument(
            help="File with the token. The default reads standard input, which keeps it out of the shell's history."
        ),
    ] = "-",
    issuer: Annotated[str | None, typer.Option(help="Expected issuer (iss).")] = None,
    audience: Annotated[str | None, typer.Option(help="Expected audience (aud).")] = None,
    leeway: Annotated[float, typer.Option(help="Tolerated clock difference, in seconds.")] = 30.0,
    claims_map: Annotated[
        list[str] | None,
        typer.Option("--map", help="Where the claims have something, such as subject=user_id. Repeatable."),
    ] = None,
    integer_subject: Annotated[bool, typer.Option(help="Accept an integer as the subject.")] = False,
    preset: Annotated[str | None, typer.Option(help=f"Settings of a common issuer: {', '.join(PRESETS)}.")] = None,
    key_file: KeyFileOption = None,
    secret_file: SecretFileOption = None,
    algorithm: AlgorithmOption = None,
    config: ConfigOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the contents of a token, and whether a verifier with these keys accepts it.

    Without --key-file and --secret-file, a token of a provider in the settings file is verified with the provider's
    keys, which are fetched now. For other tokens, the key is ROOMKEY_SECRET. If that is not set, the keys are those
    that the server accepts now: ROOMKEY_KEY, else the keys in its folder that are not retired. Without keys, the token
    is only shown. Revocations are not checked. Exit status: 0 if the token is accepted or only shown, 1 if it is
    rejected, 2 for wrong usage.
    """
    now = time.time()
    token = read_token(file)
    try:
        provider = None if key_file or secret_file else provider_of(claimed_issuer(token), read_config(config))
        source = (
            None
            if provider
            else find_source(key_file=key_file, secret_file=secret_file, algorithm=algorithm, config=config)
        )
        verdict = _verdict(
            token,
            now,
            source,
            issuer=issuer or (source.issuer if source else None),
            audience=audience or (source.audience if source else None),
            leeway=leeway,
            claims_map=dict(_place(text) for text in claims_map or ()),
            integer_subject=integer_subject or None,
            preset=preset,
        )
        if provider is not None:
            verdict = _verdict_of(provider, token, now)
    except ConfigError as error:
        fail(str(error), 2)
    if source is None:
        why = (
            f"the settings of provider {provider.name} decide"
            if provider
            else "there is no key to verify the token with"
        )
        options = {"issuer": issuer, "audience": audience, "map": claims_map, "preset": preset}
        _warn_ignored(options | {"integer-subject": integer_subject}, why)
    try:
        header, claims = decode_unverified(token)
    except AuthError as error:
        header, claims = {}, {}
        verdict = {"accepted": False, "check": error.reason or error.code, "detail": str(error)}
    if as_json:
        typer.echo(json.dumps({"header": header, "claims": claims, "verdict": verdict}))
    else:
        _print(header, claims, verdict, now)
    raise typer.Exit(1 if verdict["accepted"] is False else 0)


def _warn_ignored(options: dict[str, object], why: str) -> None:
    ignored = [f"--{name}" for name, value in options.items() if value]
    if ignored:
        typer.echo(f"ignored {', '.join(ignored)}: {why}", err=True)


def _verdict(token: str, now: float, source: KeySource | None, **settings: Unpack[VerifierSettings]) -> dict[str, Any]:
    """Return whether the token is accepted (None without keys), by which keys, and which check failed."""
    if source is None:
        return {"accepted": None, "detail": f"not checked: use --key-file, --secret-file or {SECRET}"}
    settings.setdefault("max_token", source.max_token)
    verifier = Verifier(source.keys, algorithms=source.algorithms, **settings)
    expected = {"issuer": settings.get("issuer"), "audience": settings.get("audience")}
    by = {"keys": source.named, "algorithms": list(source.algorithms), **expected}
    try:
        verifier.verify(token, now)
    except AuthError as error:
        return {"accepted": False, "check": error.reason or error.code, "detail": str(error), "by": by}
    return {"accepted": True, "by": by}


def _verdict_of(provider: ProviderTokens, token: str, now: float) -> dict[str, Any]:
    """Return whether the server accepts the token of a provider, and what is known about the provider's keys."""
    facts = key_facts(provider)
    by = {"keys": f"the keys of provider {provider.name}", "issuer": provider.issuer, "remote": facts}
    try:
        verify_blocking(lambda: provider.verifier().verify(token, now))
    except AuthError as error:
        return {"accepted": False, "check": error.reason or error.code, "detail": str(error), "by": by}
    return {"accepted": True, "by": by}


def _print(header: dict[str, Any], claims: dict[str, Any], verdict: dict[str, Any], now: float) -> None:
    for title, members in (("Header", header), ("Claims", claims)):
        if members:
            typer.echo(title)
        width = max((len(name) for name in members), default=0)
        for name, value in members.items():
            typer.echo(f"  {printable(name):{width}}  {_with_time(name, value, now)}")
    by = verdict.get("by")
    if by and "remote" in by:
        remote = by["remote"]
        typer.echo(f"Checked with {by['keys']} ({remote['keys'] or 'introspection'}): {', '.join(remote['kids'])}")
        if remote["last_error"]:
            typer.echo(f"Cannot fetch them: {remote['last_error']}")
    elif by:
        expecting = f"issuer {by['issuer'] or 'any'}, audience {by['audience'] or 'none'}"
        typer.echo(f"Checked with {by['keys']} ({', '.join(by['algorithms'])}, {expecting})")
    if verdict["accepted"]:
        typer.echo("Accepted")
    elif verdict["accepted"] is False:
        hint = "; did you forget --audience?" if verdict["detail"].endswith("expected none") else ""
        typer.echo(f"Rejected: {verdict['detail']} ({verdict['check']}){hint}")
    else:
        typer.echo(f"Neither accepted nor rejected, {verdict['detail']}")


def _with_time(name: str, value: object, now: float) -> str:
    if name in TIMES and isinstance(value, (int, float)) and 0 < value < 253_402_300_800:
        return f"{value}  {iso(value)}, {relative(value, now)}"
    return printable(value)
