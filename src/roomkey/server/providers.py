"""The tables ``[providers.NAME]`` of ``roomkey.toml``: other servers whose tokens ``roomkey serve`` accepts.

::

    [providers.sso]
    issuer = "https://sso.example.com/realms/main"
    audience = "chat"

A table names no secret. Secrets are in files, and the table names the files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from roomkey.extras import needs

with needs("cli", "roomkey.server.providers"):
    from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from roomkey.core.algorithms import check_algorithms
from roomkey.core.claims import ExactValue
from roomkey.core.claims_map import ClaimsMap, Place
from roomkey.core.presets import PRESETS, preset_of
from roomkey.core.urls import is_confidential
from roomkey.core.verifier_settings import VerifierSettings
from roomkey.errors import ConfigError
from roomkey.server.config_file import PROVIDERS, ConfigFile
from roomkey.server.settings_sources import describe

__all__ = ["Provider", "load_providers"]

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")


class Provider(BaseModel):
    """One table. Each field declares a setting: its type, its default and its line of help."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    issuer: str = Field(
        min_length=1, description="Issuer (iss) of the tokens; without jwks, also where to find its keys."
    )
    audience: str | tuple[str, ...] | None = Field(
        None, description="Audience (aud) of the access tokens to accept, one or several. Default: accept none."
    )
    jwks: str | None = Field(None, description="URL of the keys, if the provider has no OpenID discovery document.")
    introspection: str | None = Field(
        None,
        description="URL to ask about tokens that are not JSON Web Tokens; requires client_id and client_secret_file.",
    )
    client_id: str | None = Field(None, min_length=1, description="Name of this server at the provider.")
    client_secret_file: Path | None = Field(None, description="File with the secret of client_id.")
    login: bool = Field(False, description="Let users log in at the provider; requires client_id.")
    title: str = Field("", description="Name of the provider on the button. Default: the table's name.")
    scopes: tuple[str, ...] = Field(("openid", "profile"), description="Scopes to request; openid is required.")
    create_accounts: bool = Field(False, description="Give each user of the provider an account at the first login.")
    rights: Literal["account", "claims"] = Field(
        "account",
        description="Where roles and rooms come from at a login: the account, or the claims of the ID token.",
    )
    preset: str | None = Field(None, description=f"Settings of a common issuer: {', '.join(PRESETS)}.")
    claims_map: dict[str, str | tuple[str, ...]] = Field(
        {}, description="Where the claims are, such as roles = 'realm_access.roles'. Added to the preset."
    )
    claims: dict[str, ExactValue | tuple[ExactValue, ...]] = Field(
        {}, description="Values of further claims, such as hd = 'example.com'. Added to the preset."
    )
    algorithms: tuple[str, ...] | None = Field(
        None, description="Accepted algorithms. Default: those of the preset, or all asymmetric ones."
    )
    tolerate_header: tuple[str, ...] = Field(
        (), description="Header members to ignore instead of rejecting the token: jku, x5u, x5c."
    )
    leeway: float = Field(30.0, ge=0, le=600, description="Tolerated clock difference, in seconds.")
    subject_prefix: str | None = Field(
        None, description="Begins the subjects of the provider's users. Default: the table's name and a colon."
    )

    def subject_of(self, name: str, sub: str) -> str:
        """Return the subject of a user of the provider with this name, as a verifier here names it."""
        return (f"{name}:" if self.subject_prefix is None else self.subject_prefix) + sub

    @field_validator("audience")
    @classmethod
    def _not_empty(cls, value: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
        if value is not None and not value:
            raise ValueError("must not be empty")
        return value

    @field_validator("jwks", "introspection")
    @classmethod
    def _confidential(cls, value: str | None) -> str | None:
        if value is not None and not is_confidential(value):
            raise ValueError("must be an https:// URL without a password; http:// only for this machine")
        return value

    @field_validator("algorithms")
    @classmethod
    def _known(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return None if value is None else check_algorithms(value)

    @field_validator("preset")
    @classmethod
    def _known_preset(cls, value: str | None) -> str | None:
        preset_of(value)
        return value

    @field_validator("claims_map")
    @classmethod
    def _places(cls, value: dict[str, str | tuple[str, ...]]) -> dict[str, str | tuple[str, ...]]:
        ClaimsMap(value)
        return value

    @property
    def claim_settings(self) -> VerifierSettings:
        """The settings of a verifier that are about claims."""
        return {"preset": self.preset, "claims_map": self.claims_map, "claims": self.claims}

    @property
    def places(self) -> Mapping[str, Place]:
        """Where the claims are: the map of the preset, with that of the table over it."""
        return preset_of(self.preset).under(claims_map=self.claims_map).claims_map

    @model_validator(mode="after")
    def _complete(self) -> Provider:
        if self.introspection is not None and (self.client_id is None or self.client_secret_file is None):
            raise ValueError("introspection requires client_id and client_secret_file")
        if self.audience is None and not self.login:
            raise ValueError("set audience to accept the provider's access tokens, login to let users log in, or both")
        if self.login and (self.client_id is None or not is_confidential(self.issuer)):
            raise ValueError("login requires client_id, and an https:// URL as issuer (http:// only for this machine)")
        if self.jwks is None and self.introspection is None and not is_confidential(self.issuer):
            raise ValueError("issuer must be an https:// URL (http:// only for this machine), or set jwks")
        return self


def load_providers(file: ConfigFile) -> dict[str, Provider]:
    """Return the providers that a configuration file declares, by name.

    Raises:
        ConfigError: a table has an unknown key or an invalid value; the text names it.
    """
    tables = file.values.get(PROVIDERS, {})
    if not isinstance(tables, dict):
        raise ConfigError(f"{file.path}: write [{PROVIDERS}.NAME], once for each provider")
    return {name: _provider(name, table, f"{file.path}: {PROVIDERS}.{name}") for name, table in tables.items()}


def _provider(name: str, table: Any, where: str) -> Provider:
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{where}: a name must be 1 to 32 lower-case letters, digits and hyphens")
    if not isinstance(table, dict):
        raise ConfigError(f"{where}: write [{PROVIDERS}.{name}] on a line of its own, and its settings below")
    try:
        return Provider(**table)
    except ValidationError as error:
        first = error.errors()[0]
        if first["loc"] == ("client_secret",):
            raise ConfigError(
                f"{where}.client_secret: is unknown; write it to a file, and name the file in client_secret_file"
            ) from None
        place = f"{where}.{first['loc'][0]}" if first["loc"] else where
        text = {
            "missing": "is required",
            "extra_forbidden": f"is unknown; known keys are: {', '.join(Provider.model_fields)}",
        }
        raise ConfigError(f"{place}: {text.get(first['type']) or describe(first)}") from None
