"""What a login gives, where it was asked from, and the refusals."""

from __future__ import annotations

from dataclasses import dataclass, field

from roomkey.errors import AuthError
from roomkey.stores.sessions import LoginSession

__all__ = ["OWN_CLIENT", "InvalidGrant", "InvalidScope", "IssuedTokens", "Origin", "PasswordChanged", "TokenTooLong"]

OWN_CLIENT = "roomkey"
"""The ``client_id`` of tokens that were given for a password, and not to an OAuth client."""


class InvalidGrant(AuthError):
    """No token is given; the text never says which part was wrong.

    Args:
        detail: for the log: ``no such user``, ``wrong password``, ``disabled`` …
    """

    code = "invalid_grant"
    text = "refused"


class PasswordChanged(InvalidGrant):
    """The hash of the password was replaced while it was looked at: by another password, or by a stronger hash."""


class InvalidScope(InvalidGrant):
    """More was asked for than the login was allowed (RFC 6749 section 6)."""

    code = "invalid_scope"


class TokenTooLong(AuthError):
    """The access token is longer than what asked for it can keep. Nothing was used up.

    Args:
        length: of the token, in characters.
        most: what can be kept.
    """

    code = "token_too_large"
    text = "token too large"

    def __init__(self, length: int, most: int) -> None:
        self.length, self.most = length, most
        super().__init__(f"the access token has {length} characters, but the client can keep at most {most}")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a request comes from, as far as a person wants to see it among their devices."""

    address: str = ""
    user_agent: str = ""


@dataclass(frozen=True, slots=True)
class IssuedTokens:
    """What a client is given.

    Attributes:
        access_token: a JSON Web Token (RFC 9068).
        expires_in: its lifetime in seconds.
        refresh_token: opaque; None where none is given.
        session: the login that it belongs to.
        ends_in: seconds until that ends.
    """

    access_token: str = field(repr=False)
    expires_in: int
    refresh_token: str | None = field(repr=False)
    session: LoginSession
    ends_in: int
