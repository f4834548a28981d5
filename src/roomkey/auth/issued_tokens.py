"""The result of a login, the client that asked for it, and the errors (internal)."""

from __future__ import annotations

from dataclasses import dataclass, field

from roomkey.errors import AuthError
from roomkey.stores import LoginSession

__all__ = [
    "OWN_CLIENT",
    "ClientInfo",
    "InvalidGrant",
    "InvalidScope",
    "IssuedTokens",
    "PasswordChanged",
    "ProviderUser",
    "TokenTooLong",
]

OWN_CLIENT = "roomkey"
"""The ``client_id`` of tokens that were issued for a password, and not to an OAuth client."""


class InvalidGrant(AuthError):
    """Raised when no token is issued; the text for the client never says which part was wrong.

    Args:
        detail: for the log: ``no such user``, ``wrong password``, ``disabled`` …
    """

    code = "invalid_grant"
    text = "refused"


class PasswordChanged(InvalidGrant):
    """Raised when another password, or a stronger hash, replaced the password hash during the login."""


class InvalidScope(InvalidGrant):
    """Raised when a request contains scopes that the login session does not have (RFC 6749 section 6)."""

    code = "invalid_scope"


class TokenTooLong(AuthError):
    """Raised when the access token is longer than the client can store. Nothing was consumed.

    Args:
        length: characters of the token.
        most: characters that the client can store.
    """

    code = "token_too_large"
    text = "token too large"

    def __init__(self, length: int, most: int) -> None:
        self.length, self.most = length, most
        super().__init__(f"the access token has {length} characters, but the client can keep at most {most}")


@dataclass(frozen=True, slots=True)
class ClientInfo:
    """The client that sent a request, as users see it in the list of their devices.

    Attributes:
        address: its network address.
        user_agent: its ``User-Agent`` header.
    """

    address: str = ""
    user_agent: str = ""


@dataclass(frozen=True, slots=True)
class ProviderUser:
    """Who logged in at an OpenID provider.

    Attributes:
        issuer: ``iss`` of the provider.
        subject: the subject of the user's tokens from the provider, as a verifier here names it.
        session: the ``sid`` of the provider's session; empty if the provider did not name it.
        auth_time: when the user entered the password there, in seconds since the epoch; 0 if the provider did not say.
    """

    issuer: str
    subject: str
    session: str = ""
    auth_time: int = 0


@dataclass(frozen=True, slots=True)
class IssuedTokens:
    """The tokens that a client receives.

    Attributes:
        access_token: a JSON Web Token (RFC 9068).
        expires_in: lifetime of the access token, in seconds.
        refresh_token: an opaque string; None if the client gets none.
        session: the login session that the tokens belong to.
        ends_in: seconds until the login session ends.
    """

    access_token: str = field(repr=False)
    expires_in: int
    refresh_token: str | None = field(repr=False)
    session: LoginSession
    ends_in: int
