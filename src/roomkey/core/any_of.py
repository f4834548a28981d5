"""One verifier for the tokens of several issuers, each with its own settings."""

from __future__ import annotations

from typing import Any, Protocol

from roomkey.core import jws
from roomkey.core.credentials import Credential
from roomkey.core.identity import Identity
from roomkey.core.printable import printable
from roomkey.errors import ConfigError, MalformedToken, UnknownKey


class TokenVerifier(Protocol):
    """What every verifier has. Verifiers do not wait: see :func:`roomkey.keysets.verify_waiting`."""

    @property
    def issuers(self) -> tuple[str, ...]:
        """The accepted values of ``iss``; empty if any is accepted."""

    @property
    def max_token(self) -> int:
        """The longest accepted token, in bytes."""

    @property
    def requires_subject(self) -> bool:
        """True if all accepted tokens have a subject."""

    @property
    def longest_lifetime(self) -> float | None:
        """The longest lifetime of an accepted token in seconds, or None if the settings do not limit it."""

    def verify(self, token: object, now: float, *, source: str = "", proved_key: str | None = None) -> Identity:
        """Return the identity of a token's user, or raise one :class:`roomkey.errors.AuthError`."""

    def verify_presented(self, presented: Credential, now: float) -> Identity:
        """Verify a token as :meth:`verify` does, as a client presented it to a guard."""

    def identify(
        self, claims: dict[str, Any], now: float, *, source: str = "", proved_key: str | None = None
    ) -> Identity:
        """Check the claims of a token that is already verified."""


class AnyOf:
    """Verifies tokens of several issuers: :meth:`roomkey.Verifier.any_of` creates it.

    The claim ``iss`` selects the verifier before a key is tried, and only that verifier decides.

    Args:
        verifiers: one verifier for each issuer.

    Raises:
        ConfigError: fewer than two verifiers, or the issuer of a token would not select exactly one.
    """

    def __init__(self, *verifiers: TokenVerifier) -> None:
        self.verifiers = verifiers
        self._by_issuer: dict[str, TokenVerifier] = {}
        if len(verifiers) < 2:
            raise ConfigError("any_of requires at least two verifiers; pass them one by one: any_of(first, second)")
        for verifier in verifiers:
            if not getattr(verifier, "issuers", ()):
                raise ConfigError(
                    "cannot use a verifier for any issuer in any_of; give it an issuer: issuer='https://…'"
                )
            for issuer in verifier.issuers:
                self._add(issuer, verifier)
        opaque = [verifier for verifier in verifiers if _is_opaque(verifier)]
        if len(opaque) > 1:
            raise ConfigError(
                "two verifiers use introspection, and a token without claims does not say which one to ask; use one"
            )
        self._opaque = opaque[0] if opaque else None

    def _add(self, issuer: str, verifier: TokenVerifier) -> None:
        """Select a verifier for an issuer. Introspection can share one: it gets the tokens that do not name it."""
        other = self._by_issuer.get(issuer)
        shared = {_is_opaque(verifier), _is_opaque(other)} == {True, False}
        if other is not None and not shared:
            raise ConfigError(f"two verifiers are for the issuer {issuer!r}; use one of them")
        if other is None or _is_opaque(other):
            self._by_issuer[issuer] = verifier

    @property
    def issuers(self) -> tuple[str, ...]:
        """The accepted values of ``iss``."""
        return tuple(self._by_issuer)

    @property
    def max_token(self) -> int:
        """The longest token that one of the verifiers accepts, in bytes."""
        return max(verifier.max_token for verifier in self.verifiers)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is insecure about the settings of the verifiers."""
        return tuple(text for verifier in self.verifiers for text in getattr(verifier, "warnings", ()))

    @property
    def requires_subject(self) -> bool:
        """True if all accepted tokens have a subject."""
        return all(verifier.requires_subject for verifier in self.verifiers)

    @property
    def longest_lifetime(self) -> float | None:
        """The longest lifetime of an accepted token in seconds, or None if one verifier does not limit it."""
        longest = 0.0
        for verifier in self.verifiers:
            if verifier.longest_lifetime is None:
                return None
            longest = max(longest, verifier.longest_lifetime)
        return longest

    def verify(self, token: object, now: float, *, source: str = "", proved_key: str | None = None) -> Identity:
        """Verify a token with the verifier of its issuer.

        Args:
            token: the value that a client presented.
            now: seconds since the epoch.
            source: where the client presented the token.
            proved_key: as for :meth:`roomkey.Verifier.verify`.

        Raises:
            TokenError: no verifier is for its issuer, or that verifier rejects the token.
            Unavailable: as for :meth:`roomkey.Verifier.verify`.
        """
        if self._opaque is not None and isinstance(token, str) and token.count(".") != 2:
            chosen = self._opaque
        else:
            chosen = self._verifier_of(_claimed(token, self.max_token))
        return chosen.verify(token, now, source=source, proved_key=proved_key)

    def verify_presented(self, presented: Credential, now: float) -> Identity:
        """Verify a token as :meth:`verify` does, as a client presented it to a guard."""
        return self.verify(presented.token, now, source=presented.source, proved_key=presented.proved_key)

    def identify(
        self, claims: dict[str, Any], now: float, *, source: str = "", proved_key: str | None = None
    ) -> Identity:
        """Check the claims of a token that is already verified, with the verifier of its issuer.

        Raises:
            TokenError: no verifier is for its issuer, or a check failed.
        """
        return self._verifier_of(claims.get("iss")).identify(claims, now, source=source, proved_key=proved_key)

    def _verifier_of(self, issuer: object) -> TokenVerifier:
        found = self._by_issuer.get(issuer) if isinstance(issuer, str) else None
        if found is None:
            raise UnknownKey(f"no verifier is for the issuer {printable(issuer)}")
        return found


def _is_opaque(verifier: object) -> bool:
    return getattr(verifier, "accepts_opaque", False) is True


def _claimed(token: object, max_token: int) -> object:
    """Return the ``iss`` of a token that is not verified."""
    if not isinstance(token, str) or not token.isascii() or token.count(".") != 2 or len(token) > max_token:
        jws.split(token, max_token)  # raises the error that any verifier would
        raise MalformedToken("not three parts", message=MalformedToken.JWT_MALFORMED)
    (payload,) = jws.decode_parts(token.split(".")[1].encode())
    return jws.json_object(payload, "payload").get("iss")
