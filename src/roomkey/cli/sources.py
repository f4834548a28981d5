"""The inputs of commands: options that they share, settings, keys and tokens."""

from __future__ import annotations

import os
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from roomkey import Key, KeySet, Verifier
from roomkey.cli.output import fail
from roomkey.core.jws import LONGEST_TOKEN, MAX_TOKEN, decode_unverified
from roomkey.errors import AuthError, ConfigError
from roomkey.keysets.files import KEY, environment_key, load_key_files, load_key_set, read_private, signing_key
from roomkey.keysets.folder import KeyFolder
from roomkey.server.config_file import ConfigFile, read_config
from roomkey.server.settings import Settings, help_of
from roomkey.server.settings_sources import load_settings

__all__ = [
    "SECRET",
    "AlgorithmOption",
    "ConfigOption",
    "DatabaseOption",
    "KeyFileOption",
    "KeySource",
    "RedisOption",
    "RoleOption",
    "RoomOption",
    "SecretFileOption",
    "claimed_issuer",
    "default_source",
    "environment_secret",
    "find_source",
    "is_token",
    "read_settings",
    "read_token",
    "seconds",
]

SECRET = "ROOMKEY_SECRET"  # noqa: S105 - the name of an environment variable

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def _without_password(where: str | None) -> str | None:
    if where is not None and re.search(r"://[^/?#]*:[^/?#]*@|[?&]password=", where):
        raise typer.BadParameter(
            "remove the password: other users can read the command line; put it into the file that PGPASSFILE names, "
            "or the URL into ROOMKEY_DATABASE or roomkey.toml"
        )
    return where


def _without_redis_password(where: str | None) -> str | None:
    if where is not None and re.search(r"://[^/?#]*:[^/?#]*@|[?&]password=", where):
        raise typer.BadParameter(
            "remove the password: other users can read the command line; put the URL into ROOMKEY_REDIS or roomkey.toml"
        )
    return where


DatabaseOption = Annotated[str | None, typer.Option(help=help_of("database"), callback=_without_password)]
RedisOption = Annotated[str | None, typer.Option(help=help_of("redis"), callback=_without_redis_password)]
ConfigOption = Annotated[Path | None, typer.Option(help="Settings file. Default: roomkey.toml, if it exists.")]
KeyFileOption = Annotated[Path | None, typer.Option(help="Key file: JWK, JWK Set or PEM.")]
SecretFileOption = Annotated[Path | None, typer.Option(help=f"File with a shared secret. You can also set {SECRET}.")]
RoleOption = Annotated[list[str] | None, typer.Option(help="Role to grant. Repeatable.")]
RoomOption = Annotated[list[str] | None, typer.Option(help="Room to allow. Repeatable.")]
AlgorithmOption = Annotated[str | None, typer.Option(help="Signature algorithm, such as HS256 or ES256.")]


@dataclass(frozen=True, slots=True)
class KeySource:
    """Keys and the settings that belong to them.

    Attributes:
        keys: the keys that verify tokens.
        algorithms: the algorithms of the keys.
        named: where the keys come from, in words.
        issuer: the ``iss`` of their tokens, or None.
        audience: the ``aud`` of their tokens, or None.
        signer: the key that signs new tokens; None means the first private key.
        max_token: the maximum length of their tokens, in bytes.
    """

    keys: KeySet
    algorithms: tuple[str, ...]
    named: str
    issuer: str | None = None
    audience: str | None = None
    signer: Key | None = None
    max_token: int = MAX_TOKEN

    def signing(self) -> Key:
        """Return the key that signs new tokens.

        Raises:
            ConfigError: all keys are public.
        """
        return self.signer or signing_key(self.keys, self.algorithms[0])

    def verifier(self) -> Verifier:
        """Return a verifier for the tokens that these keys sign."""
        return Verifier(
            self.keys,
            algorithms=self.algorithms,
            issuer=self.issuer,
            audience=self.audience,
            max_token=self.max_token,
        )


def read_settings(config: Path | None, **flags: object) -> Settings:
    """Return the settings of the server, as :func:`roomkey.server.settings_sources.load_settings` does."""
    return load_settings(read_config(config), **flags)


def find_source(
    *, key_file: Path | None, secret_file: Path | None, algorithm: str | None, config: Path | None
) -> KeySource | None:
    """Find keys: those that the options name, else ``ROOMKEY_SECRET``, else the keys that the server would use now.

    Returns:
        The source, or None if no keys were found.

    Raises:
        ConfigError: a file cannot be read, or has no key for the algorithm.
    """
    if key_file is not None and secret_file is not None:
        fail("use either --key-file or --secret-file, not both", 2)
    if key_file is not None:
        return _source(load_key_set(key_file), algorithm, str(key_file))
    if secret_file is not None:
        # Editors add a line break to the end of a file; it is not part of the secret.
        secret = read_private(secret_file).rstrip(b"\r\n")
        return _source(_secret_keys(secret, algorithm, str(secret_file)), algorithm, f"the secret in {secret_file}")
    return _secret_source(algorithm) or _server_source(read_settings(config, algorithm=algorithm))


def default_source(file: ConfigFile) -> KeySource | None:
    """Return the keys that :func:`find_source` finds without options, for the settings of a file."""
    return _secret_source(None) or _server_source(load_settings(file))


def _secret_source(algorithm: str | None) -> KeySource | None:
    keys = environment_secret(algorithm)
    return None if keys is None else _source(keys, algorithm, f"the secret in {SECRET}")


def environment_secret(algorithm: str | None = None) -> KeySet | None:
    """Return the shared secret in ``ROOMKEY_SECRET``, or None if the variable is not set.

    Raises:
        ConfigError: the secret cannot be used; the text names the variable.
    """
    secret = os.environ.get(SECRET)
    return None if secret is None else _secret_keys(secret.encode(errors="surrogateescape"), algorithm, SECRET)


def _secret_keys(secret: bytes, algorithm: str | None, where: str) -> KeySet:
    try:
        return KeySet([Key.from_secret(secret, algorithm=algorithm or "HS256")])
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def _source(keys: KeySet, algorithm: str | None, named: str) -> KeySource:
    usable = dict.fromkeys(name for key in keys for name in key.algorithms)
    if algorithm is not None and algorithm not in usable:
        raise ConfigError(f"cannot use {named}: it is for {', '.join(usable)}, not {algorithm}")
    return KeySource(keys, (algorithm,) if algorithm else tuple(usable), named)


def _server_source(settings: Settings) -> KeySource | None:
    """Return the key in ``ROOMKEY_KEY``, else the keys of the folder that are valid now, as ``roomkey serve`` does."""
    now = time.time()
    if (signer := environment_key(settings.algorithm)) is not None:
        keys, named = KeySet([signer]), f"the key in {KEY}"
    elif load_key_files(settings.keys):
        folder = KeyFolder(settings.keys, settings.algorithm, settings.token_lifetime)
        keys, named, signer = folder.accepted(now), f"the keys in {settings.keys}", folder.signing(now)
    else:
        return None
    return KeySource(
        keys, (settings.algorithm,), named, settings.issuer, settings.audience, signer, max_token=settings.max_token
    )


def seconds(text: str) -> int:
    """Parse a duration, such as ``900``, ``15m``, ``8h`` or ``30d``, into seconds."""
    found = re.fullmatch(r"(-?\d{1,9})([smhd]?)", text)
    if found is None:
        raise typer.BadParameter("use seconds, or a number with s, m, h or d: 900, 15m, 8h, 30d")
    return int(found[1]) * _UNITS[found[2]]


def is_token(text: str) -> bool:
    """Return True if the text looks like a token, not like the name of a file."""
    return text.count(".") == 2 and text.startswith("eyJ")


def read_token(file: str) -> str:
    """Read the token in the first line of a file, without a leading ``Bearer``; ``-`` is standard input."""
    if file == "-":
        if sys.stdin.isatty():
            typer.echo("Paste the token, then press Enter:", err=True)
        text = sys.stdin.readline(2 * LONGEST_TOKEN)
    elif is_token(file):
        text = file
    else:
        try:
            with Path(file).open() as lines:
                text = lines.readline(2 * LONGEST_TOKEN)
        except (OSError, UnicodeError):
            fail(f"cannot read the file {file}", 2)
    token = re.sub(r"(?i)^bearer\s+", "", text.strip())
    if not token:
        fail("no token on standard input" if file == "-" else f"no token in {file}", 2)
    return token


def claimed_issuer(token: str) -> object:
    """Return the ``iss`` of a token that is not verified; None if it cannot be read."""
    try:
        return decode_unverified(token)[1].get("iss")
    except AuthError:
        return None
