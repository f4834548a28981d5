"""All errors that roomkey raises, and the text of each for clients.

::

    AuthError                        code, reason, temporary, to_client()
    ├── CredentialsError             credentials_required, credentials_bad_format, missing_authorization_header
    ├── TokenError                   invalid_token
    │   ├── MalformedToken  BadSignature  AlgorithmNotAllowed  UnknownKey
    │   ├── ClaimError(claim)
    │   │   ├── MissingClaim  SubjectMismatch
    │   │   └── ExpiredToken  ImmatureToken
    │   └── RevokedToken
    ├── InvalidProof                 invalid_dpop_proof
    │   └── NonceRequired            use_dpop_nonce
    ├── AuthenticationTimeout
    ├── TooManyAttempts
    ├── LimitExceeded                too many sockets, joins, events or proofs of a subject
    ├── PermissionDenied             namespace, room or event
    │   └── Declined                 the application's connect handler declined
    ├── ReauthenticationRequired     the login is too old for this event
    ├── ProtocolViolation            a packet that honest clients do not send
    └── Unavailable (temporary)      a key, a store or a handler is unavailable; the client can try again
    ConfigError(ValueError)          a mistake in the program, raised when the object is created

Each error has two texts. ``str(error)`` is for the operator's log and has the details. ``error.message`` is for the
client. It is fixed for each type of error, and never comes from another exception. Its words are those of Node's
``jsonwebtoken``, which clients of the first Socket.IO JWT libraries already compare with. Neither text ever contains a
token, a key or a password.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Protocol, Self

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
    "InvalidProof",
    "LimitExceeded",
    "Lookup",
    "MalformedToken",
    "MissingClaim",
    "NonceRequired",
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
    """A mistake in the program or its settings, raised when the object is created. The text says what to change."""


class AuthError(Exception):
    """Raised when a connection is refused, a token is rejected or an action is denied.

    Args:
        detail: the details for the operator's log, without tokens, keys and passwords.
        message: the text for the client, if this type of error has several.
        facts: further members for :meth:`to_client`, such as ``expired_at``.

    Attributes:
        code: stable code for programs (``invalid_token``, ``credentials_required``, …).
        reason: a more specific code (``token_expired``, ``claim``, …), or None.
        temporary: True if the same request can succeed later.
        retry: True if the client should get a new token and connect again.
        text: the default text for the client.
        other_texts: the more specific texts for the client, which the class also has by name; ``…`` is a variable part.
        sent_to_clients: False if only the operator's log has this error.
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

    def without_frames(self) -> Self:
        """Forget the frames that this error and its causes have passed, and return it.

        The frames hold the token and the connection for as long as the error is kept.
        """
        self.__traceback__ = self.__context__ = self.__cause__ = None
        return self

    def to_client(self) -> dict[str, object]:
        """Return the data for the client: the ``data`` member of CONNECT_ERROR and of ``unauthorized``.

        Returns:
            ``{"message", "code", "type": "UnauthorizedError"}``; ``reason`` and ``retry`` if they are set; and the
            error's own facts.
        """
        data: dict[str, object] = {"message": self.message, "code": self.code, "type": "UnauthorizedError"}
        if self.reason is not None:
            data["reason"] = self.reason
        if self.retry:
            data["retry"] = True
        return data | self.facts


class CredentialsError(AuthError):
    """Raised when no source has a token, or has something that is not one token."""

    code: ClassVar[str] = "credentials_required"
    text = "no token provided"


class CredentialsBadFormat(CredentialsError):
    """Raised when an ``Authorization`` value is not ``Bearer <token>`` (RFC 6750 section 2.1)."""

    code = "credentials_bad_format"
    text = "Format is Authorization: Bearer [token]"
    SEVERAL_TOKENS: ClassVar[str] = "more than one token provided"
    MISSING_CHUNK: ClassVar[str] = "a part of the token cookie is missing"
    other_texts = (SEVERAL_TOKENS, MISSING_CHUNK)


class MissingAuthorizationHeader(CredentialsError):
    """Raised when ``Authorization`` is the only accepted source and the request does not have it."""

    code = "missing_authorization_header"
    text = "Server requires Authorization Header"


class TokenError(AuthError):
    """Raised when a presented token is rejected."""


class MalformedToken(TokenError):
    """Raised when a value is not a JSON Web Token in compact form (RFC 7515 section 3.1, RFC 7519 section 7.2)."""

    reason = "malformed"
    JWT_MALFORMED: ClassVar[str] = "jwt malformed"
    JWT_MISSING: ClassVar[str] = "jwt must be provided"
    WRONG_TYPE: ClassVar[str] = "invalid token datatype"
    TICKET_INVALID: ClassVar[str] = "ticket used, expired or unknown"
    TICKET_OF_ANOTHER_PAGE: ClassVar[str] = "ticket of another page"
    other_texts = (JWT_MALFORMED, JWT_MISSING, WRONG_TYPE, TICKET_INVALID, TICKET_OF_ANOTHER_PAGE)


class BadSignature(TokenError):
    """Raised when a signature is not valid for the key (RFC 7515 section 5.2)."""

    reason = "bad_signature"
    text = "invalid signature"
    SIGNATURE_MISSING: ClassVar[str] = "jwt signature is required"
    other_texts = (SIGNATURE_MISSING,)


class UnknownKey(TokenError):
    """Raised when no key has the token's ``kid``. For clients, this error looks like a bad signature."""

    reason = "bad_signature"
    text = "invalid signature"


class AlgorithmNotAllowed(TokenError):
    """Raised when the verifier or the key does not allow the header's ``alg`` (RFC 8725 section 3.1)."""

    reason = "bad_signature"
    text = "invalid algorithm"


class ClaimError(TokenError):
    """Raised when a claim has the wrong type or value.

    Args:
        claim: the name of the claim (``aud``, ``exp``, …).
        detail: as for :class:`AuthError`.
        message: as for :class:`AuthError`.
        facts: as for :class:`AuthError`.
    """

    reason: ClassVar[str | None] = "claim"
    text: ClassVar[str] = "invalid … value"
    AUDIENCE_INVALID: ClassVar[str] = "jwt audience invalid. expected: …"
    ISSUER_INVALID: ClassVar[str] = "jwt issuer invalid. expected: …"
    other_texts: ClassVar[tuple[str, ...]] = (AUDIENCE_INVALID, ISSUER_INVALID)

    def __init__(self, claim: str, detail: str = "", *, message: str | None = None, **facts: object) -> None:
        self.claim = claim
        if message is None and type(self).text is ClaimError.text:
            message = self.text.replace("…", claim)
        super().__init__(detail, message=message, claim=claim, **facts)


class MissingClaim(ClaimError):
    """Raised when a required claim is missing."""


class ExpiredToken(ClaimError):
    """Raised when the time ``exp`` has passed (RFC 7519 section 4.1.4)."""

    reason = "token_expired"
    retry = True
    text = "jwt expired"
    TOO_OLD: ClassVar[str] = "maxAge exceeded"
    other_texts = (TOO_OLD,)


class ImmatureToken(ClaimError):
    """Raised when the time ``nbf`` is in the future (RFC 7519 section 4.1.5)."""

    text = "jwt not active"


class SubjectMismatch(ClaimError):
    """Raised when a connected socket presents a token for another subject."""

    reason = "subject_mismatch"
    text = "jwt subject invalid"
    other_texts = ()

    def __init__(self, detail: str = "") -> None:
        super().__init__("sub", detail)


class RevokedToken(TokenError):
    """Raised when the token, its login session or its subject is revoked (RFC 7009)."""

    reason = "token_revoked"
    text = "jwt revoked"


class InvalidProof(AuthError):
    """Raised when a token is bound to a key, and the DPoP proof is missing or invalid (RFC 9449 section 7.1)."""

    code: ClassVar[str] = "invalid_dpop_proof"
    reason: ClassVar[str | None] = "invalid_dpop_proof"
    text: ClassVar[str] = "invalid DPoP proof"
    PROOF_MISSING: ClassVar[str] = "DPoP proof required"
    other_texts: ClassVar[tuple[str, ...]] = (PROOF_MISSING,)


class NonceRequired(InvalidProof):
    """Raised when a DPoP proof has no valid nonce of this server (RFC 9449 section 9).

    Args:
        nonce: the nonce for the next proof of the client.
        detail: as for :class:`AuthError`.
    """

    code = "use_dpop_nonce"
    reason = "use_dpop_nonce"
    retry = True
    text = "DPoP nonce required"
    other_texts = ()

    def __init__(self, nonce: str, detail: str = "") -> None:
        super().__init__(detail, nonce=nonce)


class AuthenticationTimeout(AuthError):
    """Raised when a connection does not authenticate in time."""

    code = "authentication_timeout"
    reason = "authentication_timeout"
    text = "authentication timeout"


class TooManyAttempts(AuthError):
    """Raised when a connection or an address has too many failed attempts."""

    code = "too_many_attempts"
    reason = "too_many_attempts"
    text = "too many attempts"


class LimitExceeded(AuthError):
    """Raised when a subject is over a limit.

    Args:
        limit: ``sockets``, ``joins``, ``events`` or ``proofs``.
    """

    code = "limit_exceeded"
    reason = "limit_exceeded"
    temporary = True
    text = "limit exceeded"

    def __init__(self, limit: str, detail: str = "") -> None:
        super().__init__(detail or f"too many {limit}", limit=limit)


class PermissionDenied(AuthError):
    """Raised when the policy denies a namespace, a room or an event (RFC 6750 section 3.1, ``insufficient_scope``)."""

    code = "permission_denied"
    reason = "permission_denied"
    text = "Insufficient permissions"
    DECLINED: ClassVar[str] = "Connection rejected by server"
    INVALID_NAMESPACE: ClassVar[str] = "Invalid namespace"
    other_texts = (DECLINED, INVALID_NAMESPACE)


class Declined(PermissionDenied):
    """Raised when the application's connect handler declines a client.

    Args:
        message: the handler's text for the client.
        data: the handler's data for the client, which replaces the usual members; None keeps them.
    """

    def __init__(self, message: str, data: object = None) -> None:
        self._data = data
        super().__init__("the connect handler refused", message=message)

    def to_client(self) -> Any:
        """Return the handler's data, or the usual members without it."""
        return super().to_client() if self._data is None else self._data


class ReauthenticationRequired(AuthError):
    """Raised when the token is valid, but the login is too old for an event (RFC 9470 section 3).

    Args:
        max_age: the longest accepted time since the login, in seconds.
        detail: as for :class:`AuthError`.
    """

    code = "insufficient_user_authentication"
    reason = "reauthentication_required"
    text = "authenticate again"

    def __init__(self, max_age: float, detail: str = "") -> None:
        super().__init__(detail, max_age=max_age)


class ProtocolViolation(AuthError):
    """Raised for packets that honest clients do not send: reserved events, broken frames, packets before admission."""

    code = "protocol_violation"
    sent_to_clients = False
    text = "protocol violation"


class Lookup(Protocol):
    """Something that is being fetched, and that a decision requires.

    Attributes:
        timeout: the longest time to wait for it, in seconds.
    """

    timeout: float

    async def wait(self, seconds: float) -> None:
        """Return as soon as the fetch has ended, in whatever way, or after so many seconds."""

    def wait_blocking(self, seconds: float) -> None:
        """Wait as :meth:`wait` does, in a program without an event loop."""

    def notify(self, callback: Callable[[], object]) -> None:
        """Call back as soon as the fetch has ended, in any thread."""


class Unavailable(AuthError):
    """Raised when something that a decision requires is unavailable. The client can try again.

    Args:
        detail: as for :class:`AuthError`.
        lookup: if the answer is being fetched, what to wait for before the decision is made again.
    """

    code = "temporarily_unavailable"
    reason = "temporarily_unavailable"
    temporary = True
    retry = True
    text = "temporarily unavailable"

    def __init__(self, detail: str = "", *, lookup: Lookup | None = None) -> None:
        super().__init__(detail)
        self.lookup = lookup
