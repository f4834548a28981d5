"""Every error that roomkey raises, and the one text of each that a client may see.

::

    AuthError                        code, reason, temporary, to_client()
    ├── CredentialsError             credentials_required, credentials_bad_format, missing_authorization_header
    ├── TokenError                   invalid_token
    │   ├── MalformedToken  BadSignature  AlgorithmNotAllowed  UnknownKey
    │   ├── ClaimError(claim)
    │   │   ├── MissingClaim  SubjectMismatch
    │   │   └── ExpiredToken  ImmatureToken
    │   └── RevokedToken
    ├── AuthenticationTimeout
    ├── TooManyAttempts
    ├── LimitExceeded                more sockets, joins or events than one subject may have
    ├── PermissionDenied             namespace, room or event
    │   └── Declined                 the application's connect handler refused
    ├── ReauthenticationRequired     the proof of who it is lies too far back for this event
    ├── ProtocolViolation            a packet that no honest client sends
    └── Unavailable (temporary)      a key, a store or a handler out of order: refuse, and say "try again"
    ConfigError(ValueError)          a programmer's mistake, raised when the object is made

Two texts belong to an error. ``str(error)`` is for the operator's log and says what was found and by how much.
``error.message`` is for the client: fixed per kind of error, in the words that clients of the first Socket.IO
JWT libraries already compare with (those of Node's ``jsonwebtoken``), never derived from an exception.
Neither ever holds a token, a key or a password.
"""

from __future__ import annotations

from typing import Any, ClassVar

__all__ = [
    "AlgorithmNotAllowed",
    "AuthError",
    "AuthenticationTimeout",
    "BadSignature",
    "ClaimError",
    "ConfigError",
    "CredentialsError",
    "Declined",
    "ExpiredToken",
    "ImmatureToken",
    "LimitExceeded",
    "MalformedToken",
    "MissingClaim",
    "PermissionDenied",
    "ProtocolViolation",
    "ReauthenticationRequired",
    "RevokedToken",
    "SubjectMismatch",
    "TokenError",
    "TooManyAttempts",
    "Unavailable",
    "UnknownKey",
]


class ConfigError(ValueError):
    """A mistake in the program or its settings, raised when the object is made. The text says what to change."""


class AuthError(Exception):
    """A connection, a token or an action was refused.

    Args:
        detail: what was found, for the operator's log (never a token, key or password).
        message: the client's text, where one kind of error has several.
        facts: extra members for :meth:`to_client`, such as ``expired_at``.

    Attributes:
        code: stable machine-readable code (``invalid_token``, ``credentials_required``, …).
        reason: finer than ``code``, or None (``token_expired``, ``claim``, …).
        temporary: True if the same request may succeed later.
        retry: True if the client should get a fresh token and connect again.
        text: the client's message, unless a more precise one is given.
        other_texts: those more precise ones; ``…`` stands for a variable part.
        sent_to_clients: False for what only the log of the operator ever has.
    """

    code: ClassVar[str] = "invalid_token"
    reason: ClassVar[str | None] = None
    temporary: ClassVar[bool] = False
    retry: ClassVar[bool] = False
    text: ClassVar[str] = "invalid token"
    other_texts: ClassVar[tuple[str, ...]] = ()
    sent_to_clients: ClassVar[bool] = True

    def __init__(self, detail: str = "", *, message: str | None = None, **facts: object) -> None:
        self.message = message if message is not None else self.text
        self.facts = facts
        super().__init__(detail or self.message)

    def to_client(self) -> dict[str, object]:
        """What the client is told: the ``data`` member of a CONNECT_ERROR or of ``unauthorized``.

        Returns:
            ``{"message", "code", "type": "UnauthorizedError"}`` and, where they say something, ``reason``,
            ``retry`` and the error's own facts.
        """
        told: dict[str, object] = {"message": self.message, "code": self.code, "type": "UnauthorizedError"}
        if self.reason is not None:
            told["reason"] = self.reason
        if self.retry:
            told["retry"] = True
        return told | self.facts


class CredentialsError(AuthError):
    """No token, or none that could be read from where tokens may come from."""

    code: ClassVar[str] = "credentials_required"
    text = "no token provided"


class CredentialsBadFormat(CredentialsError):
    """An ``Authorization`` value that is not ``Bearer <token>`` (RFC 6750 section 2.1)."""

    code = "credentials_bad_format"
    text = "Format is Authorization: Bearer [token]"
    other_texts = ("more than one token provided",)


class MissingAuthorizationHeader(CredentialsError):
    """The ``Authorization`` header is the only accepted source, and is absent."""

    code = "missing_authorization_header"
    text = "Server requires Authorization Header"


class TokenError(AuthError):
    """A token was presented and is not acceptable."""


class MalformedToken(TokenError):
    """Not a JSON Web Token in the strict compact form (RFC 7515 section 3.1, RFC 7519 section 7.2)."""

    reason = "malformed"
    other_texts = (
        "jwt malformed",
        "jwt must be provided",
        "invalid token datatype",
        "ticket used, expired or unknown",
        "ticket of another page",
    )


class BadSignature(TokenError):
    """The signature does not verify with the key (RFC 7515 section 5.2)."""

    reason = "bad_signature"
    text = "invalid signature"
    other_texts = ("jwt signature is required",)


class UnknownKey(TokenError):
    """No key for this ``kid``. A client cannot tell it from a bad signature; the log can."""

    reason = "bad_signature"
    text = "invalid signature"


class AlgorithmNotAllowed(TokenError):
    """The header's ``alg`` is not one the verifier or the key allows (RFC 8725 section 3.1)."""

    reason = "bad_signature"
    text = "invalid algorithm"


class ClaimError(TokenError):
    """A claim has a wrong type or value.

    Args:
        claim: the claim's name (``aud``, ``exp``, …).
    """

    reason: ClassVar[str | None] = "claim"
    text: ClassVar[str] = "invalid … value"
    other_texts: ClassVar[tuple[str, ...]] = ("jwt audience invalid. expected: …", "jwt issuer invalid. expected: …")

    def __init__(self, claim: str, detail: str = "", *, message: str | None = None, **facts: object) -> None:
        self.claim = claim
        if message is None and type(self).text is ClaimError.text:
            message = f"invalid {claim} value"
        super().__init__(detail, message=message, claim=claim, **facts)


class MissingClaim(ClaimError):
    """A required claim is absent."""


class ExpiredToken(ClaimError):
    """``exp`` has passed (RFC 7519 section 4.1.4)."""

    reason = "token_expired"
    retry = True
    text = "jwt expired"
    other_texts = ("maxAge exceeded",)


class ImmatureToken(ClaimError):
    """``nbf`` is still ahead (RFC 7519 section 4.1.5)."""

    text = "jwt not active"


class SubjectMismatch(ClaimError):
    """A live socket presented the token of somebody else."""

    reason = "subject_mismatch"
    text = "jwt subject invalid"
    other_texts = ()

    def __init__(self, detail: str = "") -> None:
        super().__init__("sub", detail)


class RevokedToken(TokenError):
    """The token, its session or its subject was revoked (RFC 7009)."""

    reason = "token_revoked"
    text = "jwt revoked"


class AuthenticationTimeout(AuthError):
    """The connection did not authenticate in time."""

    code = "authentication_timeout"
    reason = "authentication_timeout"
    text = "authentication timeout"


class TooManyAttempts(AuthError):
    """More refused attempts than one connection or one address may have."""

    code = "too_many_attempts"
    reason = "too_many_attempts"
    text = "too many attempts"


class LimitExceeded(AuthError):
    """More than one subject may have at once, or do in a second.

    Args:
        limit: ``sockets``, ``joins`` or ``events``.
    """

    code = "limit_exceeded"
    reason = "limit_exceeded"
    temporary = True
    text = "limit exceeded"

    def __init__(self, limit: str, detail: str = "") -> None:
        super().__init__(detail or f"too many {limit}", limit=limit)


class PermissionDenied(AuthError):
    """Known, but not allowed to: a namespace, a room or an event (RFC 6750 section 3.1, ``insufficient_scope``)."""

    code = "permission_denied"
    reason = "permission_denied"
    text = "Insufficient permissions"
    other_texts = ("Connection rejected by server", "Invalid namespace")


class Declined(PermissionDenied):
    """The application's connect handler refused.

    Args:
        message: the handler's text for the client.
        data: the handler's data for the client, instead of the usual members; None for those.
    """

    def __init__(self, message: str, data: object = None) -> None:
        self._data = data
        super().__init__("the connect handler refused", message=message)

    def to_client(self) -> Any:
        """Return what the handler wants the client to be told."""
        return super().to_client() if self._data is None else self._data


class ReauthenticationRequired(AuthError):
    """The token is good, but its holder has proved who they are too long ago for this (RFC 9470 section 3).

    Args:
        max_age: the longest time since then, in seconds.
    """

    code = "insufficient_user_authentication"
    reason = "reauthentication_required"
    text = "authenticate again"

    def __init__(self, max_age: float, detail: str = "") -> None:
        super().__init__(detail, max_age=max_age)


class ProtocolViolation(AuthError):
    """A packet that no honest client sends: a reserved event name, a broken frame, a packet before admission."""

    code = "protocol_violation"
    sent_to_clients = False
    text = "protocol violation"


class Unavailable(AuthError):
    """What is needed to decide is out of order. Refused, and worth another try."""

    code = "temporarily_unavailable"
    reason = "temporarily_unavailable"
    temporary = True
    retry = True
    text = "temporarily unavailable"
