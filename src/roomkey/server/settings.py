"""Settings of ``roomkey serve``: defaults, then ``roomkey.toml``, then ``ROOMKEY_*``, then flags.

No setting is a secret, but for the password that the URL of a database may hold: keys and certificates are named by
their files. So every setting may be a flag, and no error message shows the URL.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from roomkey.extras import needs

with needs("cli", "roomkey.server.settings"):
    from pydantic import Field, ValidationError, field_validator, model_validator
    from pydantic_settings import (
        BaseSettings,
        InitSettingsSource,
        NoDecode,
        PydanticBaseSettingsSource,
        SettingsConfigDict,
    )

from roomkey.core.algorithms import ALGORITHMS
from roomkey.core.claims import one_or_more
from roomkey.core.issuer import MAX_TOKEN_LIFETIME
from roomkey.core.jws import LONGEST_TOKEN, MAX_TOKEN
from roomkey.core.origins import allowed_origins
from roomkey.errors import ConfigError

__all__ = [
    "CONFIG_FILE",
    "ENV_PREFIX",
    "POLICY_KEYS",
    "Settings",
    "check_exposure",
    "is_loopback",
    "load_settings",
    "read_source",
]

CONFIG_FILE = Path("roomkey.toml")
ENV_PREFIX = "ROOMKEY_"
POLICY_KEYS = frozenset({"roles", "namespace", "room", "emit", "event"})
"""What the file says beside settings: rules, never in the environment and never a flag."""

# Read strictly, so that no part of a password is taken for a host and shown.
_HOST = r"(?:[\w.%-]+|\[[\da-fA-F:.]+\])?(?::\d+)?"
_DATABASE_URL = re.compile(
    rf"postgres(?:ql)?://(?:[^/?#@:]*(?::[^/?#@[\]]*)?@)?(?P<shown>{_HOST}(?:,{_HOST})*/[^/?#@]+)(?:\?[^#]*)?"
)

Names = Annotated[tuple[str, ...], NoDecode]


class Settings(BaseSettings):
    """What can be set, with its default. A list in an environment variable is separated by commas.

    Attributes:
        host: the address to listen on.
        port: TCP port; 0 takes a free one.
        engine: what speaks Socket.IO: roomkey's own server, or python-socketio with the guard.
        database: of accounts and revocations: a SQLite file, or a ``postgresql://user@host/name`` URL, which is a str.
        keys: the folder of the signing keys.
        issuer: ``iss`` of the tokens that are made and accepted.
        audience: ``aud`` of the tokens that are made and accepted.
        token_lifetime: seconds from login to expiry.
        refresh_lifetime: seconds from a login to its end, however often its tokens are refreshed.
        rotation_grace: seconds in which a refresh token that was just used is answered as before.
        max_token: the longest token that is made and accepted, in bytes.
        algorithm: what new tokens are signed with (RFC 7518 section 3.1).
        via: where a client may present its token: at the handshake, after connecting, or both.
        authenticate_timeout: seconds a client may stay connected before it has presented a token.
        grace: seconds a socket lives on after its token has expired.
        warn_before: seconds before a token expires at which its client hears ``token_expiring``; 0 for never.
        sockets_per_subject: connections that one subject may have at once; None for no limit.
        when_full: what one more does: ``refuse`` it, or ``end_oldest`` to end the oldest.
        events_per_second: events that one subject may send in a second; None for no limit.
        admin_api: serve ``/api`` to operators (``roomkey:admin``).
        cookies: pages may ask for their tokens in cookies, and their sockets take them; it needs TLS.
        cors_origins: other origins whose pages may connect, such as ``https://app.example``.
        tls_cert: certificate chain, PEM.
        tls_key: its private key, PEM.
        behind_proxy: True if a reverse proxy in front speaks TLS.
        trusted_proxies: addresses whose ``X-Forwarded-For`` and ``X-Forwarded-Proto`` are believed.
    """

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, extra="forbid", frozen=True, validate_default=False, hide_input_in_errors=True
    )

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    engine: Literal["hub", "python-socketio"] = "hub"
    database: Annotated[Path | str, Field(repr=False)] = Path("roomkey.sqlite3")
    keys: Path = Path("keys")
    issuer: Annotated[str, Field(min_length=1)] = "roomkey"
    audience: Annotated[str, Field(min_length=1)] = "roomkey"
    token_lifetime: Annotated[int, Field(gt=0, le=MAX_TOKEN_LIFETIME)] = 900
    refresh_lifetime: Annotated[int, Field(gt=0, le=400 * 86400)] = 30 * 86400
    rotation_grace: Annotated[int, Field(ge=0, le=300)] = 10
    max_token: Annotated[int, Field(ge=1024, le=LONGEST_TOKEN)] = MAX_TOKEN
    algorithm: str = "ES256"
    via: Literal["both", "handshake", "authenticate"] = "both"
    authenticate_timeout: Annotated[float, Field(gt=0, le=300)] = 15.0
    grace: Annotated[float, Field(ge=0, le=3600)] = 25.0
    warn_before: Annotated[float, Field(ge=0, le=3600)] = 60.0
    sockets_per_subject: Annotated[int | None, Field(ge=1)] = None
    when_full: Literal["refuse", "end_oldest"] = "refuse"
    events_per_second: Annotated[float | None, Field(ge=1, allow_inf_nan=False)] = None
    admin_api: bool = False
    cookies: bool = False
    cors_origins: Names = ()
    tls_cert: Path | None = None
    tls_key: Path | None = None
    behind_proxy: bool = False
    trusted_proxies: Names = ("127.0.0.1", "::1")

    @field_validator("issuer", "audience")
    @classmethod
    def _as_in_tokens(cls, value: str) -> str:
        return one_or_more(value, "the value")[0]

    @field_validator("cors_origins", "trusted_proxies", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("database", mode="before")
    @classmethod
    def _file_or_url(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        if "://" not in value:
            return Path(value)
        if _DATABASE_URL.fullmatch(value) is None:
            raise ValueError("take a file, or a URL of the form postgresql://user@host/database")
        return value

    @field_validator("cors_origins")
    @classmethod
    def _as_browsers_send(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        allowed_origins(value, schemes=("http", "https"))
        return tuple(str(origin) for text in value for origin in allowed_origins([text]))

    @field_validator("algorithm")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in ALGORITHMS:
            raise ValueError(f"take one of {', '.join(ALGORITHMS)}")
        return value

    @field_validator("*", mode="before")
    @classmethod  # the last one is asked first
    def _without_line_breaks(cls, value: object) -> object:
        if isinstance(value, str) and value.strip("\r\n") != value:
            raise ValueError("the value begins or ends with a line break; remove it")
        return value

    @model_validator(mode="after")
    def _both_halves(self) -> Settings:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key belong together: give both")
        return self

    @model_validator(mode="after")
    def _cookies_need_tls(self) -> Settings:
        if self.cookies and not self.has_tls and not self.behind_proxy:
            raise ValueError(
                "cookies need HTTPS, or browsers do not keep them: give tls_cert and tls_key, or behind_proxy"
            )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags, the environment and the file, in this order; no .env file and no secrets folder."""
        return init_settings, env_settings, InitSettingsSource(settings_cls, cls._from_file())

    @classmethod
    def _from_file(cls) -> dict[str, Any]:
        return {}

    @property
    def has_tls(self) -> bool:
        """True if this server speaks TLS itself."""
        return self.tls_cert is not None

    @property
    def serves_oauth(self) -> bool:
        """True if the issuer is an address: OAuth's metadata names addresses, and its clients compare them."""
        return "://" in self.issuer

    @property
    def database_name(self) -> str:
        """The database as it may be shown: without user, password and options."""
        found = _DATABASE_URL.fullmatch(str(self.database))
        return f"postgresql://{found['shown']}" if found else str(self.database)


def load_settings(config: Path | None = None, **flags: object) -> Settings:
    """Read the settings.

    Args:
        config: the TOML file; ``roomkey.toml`` in the current folder, if there is one, when absent.
        flags: what was given on the command line; None means not given.

    Raises:
        ConfigError: a file that is absent or no TOML, an unknown key, a wrong value; the text names it.
    """
    values = _read_toml(config)

    class FromFile(Settings):
        @classmethod
        def _from_file(cls) -> dict[str, Any]:
            return values

    given = {name: value for name, value in flags.items() if value is not None}
    try:
        return FromFile(**given)  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else ""
        where = _where(name, given, values, config or CONFIG_FILE)
        raise ConfigError(f"{where}{first['msg'].removeprefix('Value error, ')}") from None


def check_exposure(settings: Settings) -> None:
    """Refuse to be reached from other machines without TLS.

    Raises:
        ConfigError: the address is not loopback, and nobody speaks TLS.
    """
    if is_loopback(settings.host) or settings.has_tls or settings.behind_proxy:
        return
    raise ConfigError(
        f"{settings.host} can be reached from other machines, and passwords and tokens would travel unencrypted: "
        "give --tls-cert and --tls-key, or --behind-proxy if a reverse proxy in front speaks TLS"
    )


def is_loopback(host: str) -> bool:
    """True if only this machine can reach the address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def read_source(config: Path | None) -> tuple[Path, str, dict[str, Any]]:
    """The settings file: its path, its text and what it holds; nothing of both if there is none and none is named.

    Args:
        config: the TOML file; ``roomkey.toml`` in the current folder, if there is one, when absent.

    Raises:
        ConfigError: a file that is absent or no TOML.
    """
    path = config or CONFIG_FILE
    if config is None and not path.exists():
        return path, "", {}
    try:
        source = path.read_text("utf-8-sig")  # some editors begin a file with a byte order mark
        return path, source, tomllib.loads(source)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not TOML: it is not UTF-8; save it as UTF-8") from None
    except RecursionError:
        raise ConfigError(f"{path} is not TOML: its brackets are nested too deeply") from None
    except ValueError as error:
        raise ConfigError(f"{path} is not TOML: {error}") from None


def _read_toml(config: Path | None) -> dict[str, Any]:
    """What the settings file says about settings; the policy in it is read by :mod:`roomkey.server.policy_file`."""
    path, _, values = read_source(config)
    known = [*Settings.model_fields, *sorted(POLICY_KEYS)]
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"known are: {', '.join(known)}"
            raise ConfigError(f"{path}: unknown key {name!r}; {hint}")
    return {name: value for name, value in values.items() if name not in POLICY_KEYS}


def _where(name: str, flags: dict[str, object], values: dict[str, Any], path: Path) -> str:
    """Where a wrong value was written, in the order in which the sources count."""
    if not name:
        return ""
    if name in flags:
        return f"--{name.replace('_', '-')}: "
    if f"{ENV_PREFIX}{name}".upper() in (key.upper() for key in os.environ):
        return f"{ENV_PREFIX}{name.upper()}: "
    return f"{path}: {name}: " if name in values else f"{name}: "
