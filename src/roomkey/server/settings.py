"""The settings of ``roomkey serve``.

The fields of :class:`Settings` declare them. The command line's options, the names of the environment variables and the
table in docs/serve.md are derived from these fields. ``server/settings_sources.py`` reads the values.

No setting is a secret, except for the passwords in the URLs of a database and of Redis. Keys and certificates are named
by their files. So every setting can be an option, and no error message contains a URL.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args, get_origin
from urllib.parse import urlsplit

from roomkey.extras import needs

with needs("cli", "roomkey.server.settings"):
    from pydantic import (
        BaseModel,
        ConfigDict,
        Field,
        ValidationInfo,
        field_validator,
        model_validator,
    )

from roomkey.bus.peers import split_address
from roomkey.core.algorithms import ALGORITHMS
from roomkey.core.claims import one_or_more
from roomkey.core.credentials import Handshake
from roomkey.core.dpop import DPoP
from roomkey.core.issuer import MAX_TOKEN_LIFETIME
from roomkey.core.jws import LONGEST_TOKEN, MAX_TOKEN
from roomkey.core.origins import allowed_origins
from roomkey.errors import ConfigError
from roomkey.guard.settings import GuardSettings
from roomkey.server.connection_counts import MAX_WORKERS

__all__ = ["Settings", "check_exposure", "default_of", "help_of", "is_loopback", "missing_on_other_machines"]

# The pattern is strict, so that no part of a password is taken for a host and shown.
_HOST = r"(?:[\w.%-]+|\[[\da-fA-F:.]+\])?(?::\d+)?"
_DATABASE_URL = re.compile(
    rf"postgres(?:ql)?://(?:[^/?#@:]*(?::[^/?#@[\]]*)?@)?(?P<shown>{_HOST}(?:,{_HOST})*/[^/?#@]+)(?:\?[^#]*)?"
)


class Settings(BaseModel):
    """The settings. Each field declares a setting: its type, its default, its limits and its line of help."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="TCP port to listen on; 0 chooses a free port.")
    engine: Literal["hub", "python-socketio"] = Field(
        "hub", description="Socket.IO server: hub (roomkey's own) or python-socketio."
    )
    workers: int = Field(1, ge=1, le=MAX_WORKERS, description="Processes that serve the port together.")
    database: Path | str = Field(
        Path("roomkey.sqlite3"),
        repr=False,
        description="Database: an SQLite file or a URL such as postgresql://user@host/database.",
    )
    redis: str | None = Field(
        None,
        repr=False,
        description="Redis or Valkey server that connects several machines, such as redis://host:6379.",
    )
    cluster_secret: Path | None = Field(
        None, description="File with the secret of all nodes. By default, cluster.secret in the folder of the keys."
    )
    node_address: str | None = Field(
        None, description="Address for requests that other machines forward, such as 10.0.0.5:7400."
    )
    keys: Path = Field(Path("keys"), description="Folder of the signing keys.")
    issuer: str = Field("roomkey", min_length=1, description="Issuer (iss) of the tokens to issue and to accept.")
    audience: str = Field("roomkey", min_length=1, description="Audience (aud) of the tokens to issue and to accept.")
    token_lifetime: int = Field(
        900, gt=0, le=MAX_TOKEN_LIFETIME, description="Lifetime of an access token, in seconds."
    )
    refresh_lifetime: int = Field(
        30 * 86400,
        gt=0,
        le=400 * 86400,
        description="Lifetime of a login session, in seconds, no matter how often it is refreshed.",
    )
    refresh_reuse_interval: int = Field(
        10, ge=0, le=300, description="Seconds for which a used refresh token still gets the same response."
    )
    max_token: int = Field(
        MAX_TOKEN, ge=1024, le=LONGEST_TOKEN, description="Maximum length of a token to issue or accept, in bytes."
    )
    algorithm: str = Field("ES256", description="Algorithm that signs new tokens, such as ES256 or HS256.")
    via: Literal["both", "handshake", "authenticate"] = Field(
        "both", description="When a client can present its token: handshake, authenticate (after connecting) or both."
    )
    token_header: str | None = Field(
        None, description="Header of the handshake that contains the token, instead of Authorization."
    )
    auth_member: str | None = Field(
        None,
        description="Member of the auth payload that contains the token, instead of token and its two other names.",
    )
    authenticate_timeout: float = Field(
        15.0, gt=0, le=300, description="Seconds for which a client can stay connected without a token."
    )
    grace: float = Field(
        GuardSettings.grace,
        ge=0,
        le=3600,
        description="Seconds for which a socket stays connected after its token has expired.",
    )
    warn_before: float = Field(
        GuardSettings.warn_before,
        ge=0,
        le=3600,
        description="Seconds before expiry to send token_expiring; 0 sends no warning.",
    )
    sockets_per_subject: int | None = Field(None, ge=1, description="Connections that one subject can have at once.")
    when_full: Literal["refuse", "end_oldest"] = Field(
        "refuse", description="Action if a subject has too many connections: refuse the new one, or end_oldest."
    )
    events_per_second: float | None = Field(
        None, ge=1, allow_inf_nan=False, description="Events per second that one subject can send."
    )
    admin_api: bool = Field(False, description="Serve the admin API (/api) to operators.")
    metrics: bool = Field(
        False,
        description="Serve /metrics to this machine, to operators, and to clients with the scope roomkey:metrics.",
    )
    cookies: bool = Field(False, description="Let web pages keep tokens in cookies; requires TLS.")
    cors_origins: tuple[str, ...] = Field(
        (), description="Other origins whose web pages can connect, such as https://app.example."
    )
    tls_cert: Path | None = Field(None, description="Certificate chain, a PEM file; requires tls_key.")
    tls_key: Path | None = Field(None, description="Private key of the certificate, a PEM file.")
    behind_proxy: bool = Field(False, description="A reverse proxy in front of the server provides TLS.")
    trusted_proxies: tuple[str, ...] = Field(
        ("127.0.0.1", "::1"),
        description="Proxies whose X-Forwarded-For and X-Forwarded-Proto headers are trusted.",
    )
    public_url: str | None = Field(
        None, description="URL of this server for clients; accepts tokens that are bound to a key (DPoP)."
    )

    drain_delay: float = Field(
        0.0,
        ge=0,
        le=300,
        description="Seconds between a failing /readyz and the end of accepting connections, when the server stops.",
    )
    drain_period: float = Field(
        5.0, ge=0, le=300, description="Longest time over which connections close if other nodes take over, in seconds."
    )
    drain_timeout: float = Field(10.0, ge=1, le=900, description="Seconds within which everything ends at a stop.")

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
            raise ValueError("invalid database; use a file, or a URL of the form postgresql://user@host/database")
        return value

    @field_validator("redis")
    @classmethod
    def _redis_url(cls, value: str | None) -> str | None:
        if value is not None and not _is_redis_url(value):
            raise ValueError(
                "invalid Redis URL; use one like redis://host:6379, rediss:// for TLS, or redis+cluster://"
            )
        return value

    @field_validator("node_address")
    @classmethod
    def _host_and_port(cls, value: str | None) -> str | None:
        if value is not None:
            split_address(value)
        return value

    @field_validator("cors_origins")
    @classmethod
    def _as_browsers_send(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        allowed_origins(value, schemes=("http", "https"))
        return tuple(str(origin) for text in value for origin in allowed_origins([text]))

    @field_validator("public_url")
    @classmethod
    def _fits_proofs(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                DPoP(_sockets_at(value))
            except ConfigError:
                raise ValueError("must be an https:// URL without a query; http:// only for this machine") from None
        return value

    @field_validator("token_header", "auth_member")
    @classmethod
    def _presents_a_token(cls, value: str | None, info: ValidationInfo) -> str | None:
        is_header = info.field_name == "token_header"
        try:
            if value is not None:
                Handshake(**{"header" if is_header else "auth": value})
        except ConfigError:
            kind = "a header (letters, digits and hyphens), but not Cookie" if is_header else "a member, but not dpop"
            raise ValueError(f"must be the name of {kind}") from None
        return value

    @field_validator("algorithm")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in ALGORITHMS:
            raise ValueError(f"unknown algorithm; use one of {', '.join(ALGORITHMS)}")
        return value

    @field_validator("*", mode="before")
    @classmethod  # pydantic calls the last validator first
    def _without_line_breaks(cls, value: object) -> object:
        if isinstance(value, str) and value.strip("\r\n") != value:
            raise ValueError("the value begins or ends with a line break; remove it")
        return value

    @model_validator(mode="after")
    def _both_halves(self) -> Settings:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key require each other; set both")
        return self

    @model_validator(mode="after")
    def _nodes_need_the_hub(self) -> Settings:
        name = "workers" if self.workers > 1 else "redis" if self.redis is not None else None
        if name is not None and self.engine != "hub":
            raise ValueError(f"{name} requires the hub; remove engine = {self.engine}, or remove {name}")
        return self

    @model_validator(mode="after")
    def _other_machines_need_redis(self) -> Settings:
        if self.node_address is not None and self.redis is None:
            raise ValueError("node_address requires redis, which tells the addresses to the other machines; set both")
        return self

    @model_validator(mode="after")
    def _secret_needs_nodes(self) -> Settings:
        if self.cluster_secret is not None and self.workers == 1 and self.redis is None:
            raise ValueError("cluster_secret is for several nodes; set workers or redis, or remove it")
        return self

    @model_validator(mode="after")
    def _drains_in_time(self) -> Settings:
        if self.drain_delay + self.drain_period >= self.drain_timeout:
            raise ValueError("drain_timeout must be more than drain_delay and drain_period together")
        return self

    @model_validator(mode="after")
    def _cookies_need_tls(self) -> Settings:
        if self.cookies and not self.has_tls and not self.behind_proxy:
            raise ValueError(
                "cookies require HTTPS, because browsers do not keep them otherwise; "
                "set tls_cert and tls_key, or behind_proxy"
            )
        return self

    @property
    def has_tls(self) -> bool:
        """True if this server provides TLS itself."""
        return self.tls_cert is not None

    @property
    def sockets_url(self) -> str | None:
        """The public URL of the Socket.IO path, if ``public_url`` is set."""
        return None if self.public_url is None else _sockets_at(self.public_url)

    @property
    def cluster_secret_file(self) -> Path:
        """The file with the secret of all nodes."""
        return self.cluster_secret or self.keys / "cluster.secret"

    @property
    def serves_oauth(self) -> bool:
        """True if the issuer is a URL: OAuth's metadata contains URLs, and OAuth clients compare them."""
        return "://" in self.issuer

    @property
    def database_name(self) -> str:
        """The database as it can be shown: without user, password and options. Of other URLs, only the scheme."""
        if isinstance(self.database, Path):
            return str(self.database)
        found = _DATABASE_URL.fullmatch(self.database)
        return f"postgresql://{found['shown']}" if found else f"{self.database.partition('://')[0]}://…"


def _sockets_at(public_url: str) -> str:
    return f"{public_url.rstrip('/')}/socket.io/"


def help_of(setting: str) -> str:
    """Return the line of help of a setting, with its default."""
    field = Settings.model_fields[setting]
    words = [field.description or ""]
    if get_origin(field.annotation) is tuple:
        words.append("Separate several with commas.")
    if default := default_of(setting):
        words.append(f"Default: {default}.")
    return " ".join(words)


def default_of(setting: str) -> str:
    """Return the default of a setting in words; empty if it is off or empty."""
    field = Settings.model_fields[setting]
    match field.default:
        case None:
            return "no limit" if {int, float}.intersection(get_args(field.annotation)) else ""
        case bool():
            return ""
        case float() as number:
            return f"{number:g}"
        case tuple() as values:
            return ", ".join(values)
        case value:
            return str(value)


def check_exposure(settings: Settings) -> None:
    """Check that other machines can reach the server only over TLS.

    Raises:
        ConfigError: the address is not loopback, and neither the server nor a proxy provides TLS.
    """
    if is_loopback(settings.host) or settings.has_tls or settings.behind_proxy:
        return
    raise ConfigError(
        f"cannot serve on {settings.host} without TLS: other machines can reach it, and passwords and tokens would "
        "travel unencrypted; use --tls-cert and --tls-key, or --behind-proxy if a reverse proxy provides TLS"
    )


def missing_on_other_machines(settings: Settings) -> Iterator[str]:
    """Yield what other machines on the same Redis lack. They start without it, and fail some of their clients."""
    if settings.redis is None:
        return
    if not isinstance(settings.database, str):
        yield f"other machines do not have the accounts, logins and tickets in {settings.database}; use PostgreSQL"
    if settings.node_address is None:
        yield "no node_address: polling clients must always reach the same machine; set it, or use sticky sessions"


def _is_redis_url(text: str) -> bool:
    try:
        return re.match(r"(?:rediss?(?:\+cluster)?|unix)://.", text) is not None and urlsplit(text).port != 0
    except ValueError:  # the port is not valid
        return False


def is_loopback(host: str) -> bool:
    """Return True if only this machine can reach the address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
