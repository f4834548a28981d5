"""The secrets of a cluster, which only its nodes know."""

from __future__ import annotations

import hmac
from collections.abc import Sequence

from roomkey.core.weak_keys import check_secret
from roomkey.errors import ConfigError

__all__ = ["ClusterSecrets", "secrets_of"]

MOST = 2
LEAST_BYTES = 32


class ClusterSecrets:
    """One secret, or two while the secret is being rotated: the first signs, and both verify.

    To rotate the secret without an interruption, first give all nodes ``[old, new]``, then ``[new, old]``, and then
    ``[new]``.

    Args:
        secrets: one or two secrets, each of at least 32 random bytes, as bytes or text.

    Raises:
        ConfigError: there are none or more than two, or one is too short or easy to guess.
    """

    def __init__(self, secrets: Sequence[str | bytes]) -> None:
        if isinstance(secrets, str | bytes):
            raise ConfigError("cluster secrets must be a list; write secrets=[secret]")
        if not 1 <= len(secrets) <= MOST:
            raise ConfigError(
                "a cluster must have one secret, or two while the secret is being rotated; write secrets=[secret]"
            )
        self._secrets = tuple(_checked(secret) for secret in secrets)

    def __repr__(self) -> str:
        return f"ClusterSecrets({len(self._secrets)})"

    def keys(self, purpose: str) -> tuple[bytes, ...]:
        """Return the keys for one purpose, derived from each secret; the first signs.

        Args:
            purpose: such as ``message``, ``journal``, ``sid`` or ``peer``. Keys of one purpose tell nothing about those
                of another.

        Returns:
            One or two keys of 32 bytes.
        """
        return tuple(hmac.digest(secret, b"roomkey cluster " + purpose.encode(), "sha256") for secret in self._secrets)


def secrets_of(secrets: ClusterSecrets | Sequence[str | bytes]) -> ClusterSecrets:
    """Return the secrets that a user passed.

    Raises:
        ConfigError: as for :class:`ClusterSecrets`.
    """
    return secrets if isinstance(secrets, ClusterSecrets) else ClusterSecrets(secrets)


def _checked(secret: str | bytes) -> bytes:
    if not isinstance(secret, str | bytes):
        raise ConfigError(f"invalid cluster secret: it is of type {type(secret).__name__}; pass bytes or text")
    raw = secret.encode() if isinstance(secret, str) else bytes(secret)
    if len(raw) < LEAST_BYTES:
        raise ConfigError(
            f"invalid cluster secret: it has {len(raw)} bytes, but must have at least {LEAST_BYTES}; generate one "
            "with: openssl rand -hex 32"
        )
    try:
        check_secret(raw, "HS256", typed=True)
    except ConfigError as error:
        raise ConfigError(f"invalid cluster secret: {error}") from None
    return raw
