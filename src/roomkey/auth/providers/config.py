"""An OpenID provider at which users can log in (internal; import from :mod:`roomkey.auth`)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from roomkey.core.algorithms import SYMMETRIC, check_algorithms
from roomkey.core.names import is_name
from roomkey.core.urls import is_confidential
from roomkey.errors import ConfigError
from roomkey.keysets.remote import ASYMMETRIC

__all__ = ["LoginProvider", "by_name"]

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")


@dataclass(frozen=True, slots=True)
class LoginProvider:
    """An OpenID provider, and this server's registration there.

    Attributes:
        name: the name in this server's URLs, 1 to 32 lower-case letters, digits and hyphens.
        issuer: the provider's ``iss``, exactly as in its discovery document. It also says where that document is.
        client_id: the name of this server at the provider.
        client_secret: its secret; None for a public client.
        title: the provider's name on the button and in messages. Default: the name.
        scopes: what to request; ``openid`` is required.
        algorithms: the accepted algorithms of its tokens.
        subject_prefix: begins the subjects of the provider's users, so that they cannot be those of others. It must be
            that of the verifier of the provider's access tokens, if there is one. Default: the name and a colon.
        leeway: tolerated clock difference in seconds.

    Raises:
        ConfigError: a value is not valid.
    """

    name: str
    issuer: str
    client_id: str
    client_secret: str | None = field(default=None, repr=False)
    title: str = ""
    scopes: tuple[str, ...] = ("openid",)
    algorithms: tuple[str, ...] = ASYMMETRIC
    subject_prefix: str | None = None
    leeway: float = 30.0

    def __post_init__(self) -> None:
        if _NAME.fullmatch(self.name) is None:
            raise ConfigError(f"invalid provider {self.name!r}; use 1 to 32 lower-case letters, digits and hyphens")
        if not is_confidential(self.issuer) or not is_name(self.issuer) or set(self.issuer) & set("?#"):
            raise ConfigError(
                f"provider {self.name}: issuer must be an https:// URL without query; http:// only for this machine"
            )
        if not is_name(self.client_id) or self.client_secret == "":
            raise ConfigError(f"provider {self.name}: client_id and client_secret must not be empty")
        if "openid" not in self.scopes or not all(re.fullmatch(r"[!#-\[\]-~]+", scope) for scope in self.scopes):
            raise ConfigError(f"provider {self.name}: scopes must be visible ASCII text, and contain openid")
        if SYMMETRIC.intersection(check_algorithms(self.algorithms)):
            raise ConfigError(f"provider {self.name}: algorithms must be asymmetric")
        if not 0 <= self.leeway <= 600:
            raise ConfigError(f"provider {self.name}: leeway must be 0 to 600 seconds")

    @property
    def shown_title(self) -> str:
        """The provider's name for users."""
        return self.title or self.name

    def subject_of(self, sub: str) -> str:
        """Return the subject of the provider's user, as a verifier of its access tokens names it."""
        return (f"{self.name}:" if self.subject_prefix is None else self.subject_prefix) + sub


def by_name(providers: tuple[LoginProvider, ...]) -> Mapping[str, LoginProvider]:
    """Return providers by their names.

    Raises:
        ConfigError: two have the same name, or the same issuer and so the same users.
    """
    found = {provider.name: provider for provider in providers}
    if len(found) != len(providers) or len({provider.issuer for provider in providers}) != len(providers):
        raise ConfigError("two providers have the same name or the same issuer; list each once")
    return found
