"""The newest tokens of a login, and whether they are still good enough to present."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from roomkey.errors import ConfigError

__all__ = ["Presentable", "TokenCache", "Tokens", "Version"]

Tokens = Mapping[str, Any]
"""What a login or a refresh returns (RFC 6749 section 5.1): ``access_token``, ``expires_in``, ``refresh_token``, …"""

Version = int | str
"""Two tokens with the same version are equally old."""

Refresh = Callable[[Tokens | None], Tokens | Awaitable[Tokens | None] | None]
GetToken = Callable[..., str | Awaitable[str | None] | None]

_MARGIN = 30.0  # seconds


@dataclass(frozen=True, slots=True)
class Presentable:
    """A token to present.

    Attributes:
        token: the token.
        version: compares its age with that of other tokens of the same client.
    """

    token: str
    version: Version


class TokenCache:
    """The newest tokens. The caller makes sure that one refresh runs at a time.

    Args:
        tokens: the tokens of a login, or None.
        now: the time, in seconds since the epoch.
    """

    def __init__(self, tokens: Tokens | None, now: float) -> None:
        self.tokens: Tokens | None = None
        self.version = 0
        self._fresh_until = 0.0
        if tokens is not None:
            self.store(tokens, now)

    def is_fresh(self, spent: Version | None, now: float) -> bool:
        """Return True if the tokens can be presented, and are not those that the server called expiring."""
        return self.tokens is not None and self.version != spent and now < self._fresh_until

    def store(self, answer: Tokens | None, asked: float) -> bool:
        """Store the answer of a login or refresh; return False if it has no token, because the login has ended.

        Raises:
            ConfigError: the answer is not a mapping. It may be a token, so it is not shown.
        """
        if answer is not None and not isinstance(answer, Mapping):
            raise ConfigError("tokens must be a mapping with access_token; for a token alone, pass token to the client")
        usable = answer is not None and isinstance(answer.get("access_token"), str)
        self.tokens = answer if usable else None
        if answer is not None and usable:
            lifetime = answer.get("expires_in")
            is_known = isinstance(lifetime, int | float)
            self._fresh_until = asked + lifetime - min(_MARGIN, lifetime / 4) if is_known else math.inf  # type: ignore[operator]
            self.version += 1
        return usable
