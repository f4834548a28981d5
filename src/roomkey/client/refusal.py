"""Why a server refused a client, or disconnected it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from roomkey.errors import CredentialsError, ExpiredToken, NonceRequired

__all__ = ["LOGGED_OUT", "Refusal"]


@dataclass(frozen=True, slots=True)
class Refusal:
    """What the server said in CONNECT_ERROR or in ``unauthorized``.

    Attributes:
        message: the text for the client.
        data: ``code``, and possibly ``reason``, ``retry`` and more; empty if the server is not a roomkey server, or if
            ``refresh`` or ``token`` returned None.
    """

    message: str
    data: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, packet: object) -> Refusal:
        """Read the argument of ``unauthorized``, or the payload of CONNECT_ERROR."""
        if not isinstance(packet, dict):
            return cls(str(packet))
        data = packet.get("data")
        return cls(str(packet.get("message", "")), data if isinstance(data, dict) else {})

    @property
    def code(self) -> str | None:
        """The code of the wire contract, such as ``invalid_token``."""
        return self.data.get("code")

    @property
    def reason(self) -> str | None:
        """The reason of the wire contract, such as ``token_revoked``."""
        return self.data.get("reason")

    @property
    def retry(self) -> bool:
        """True if a new token can help, or the same one later."""
        return self.data.get("retry") is True

    @property
    def concerns_token(self) -> bool:
        """True if the server rejected the token itself, and not what it may do."""
        return self.data.get("code") == ExpiredToken.code

    @property
    def nonce(self) -> str | None:
        """The nonce that the server wants in the next DPoP proof."""
        nonce = self.data.get("nonce")
        return nonce if self.data.get("code") == NonceRequired.code and isinstance(nonce, str) else None

    @property
    def is_early_packet(self) -> bool:
        """True if the application sent an event before the server had accepted a token."""
        return self.data.get("code") == CredentialsError.code


LOGGED_OUT = Refusal("logged out")
"""The login server ended the login: there is no token to present."""
