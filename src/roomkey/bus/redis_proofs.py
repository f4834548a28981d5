"""Used DPoP proofs in Redis or Valkey, so that several servers accept each proof once."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

from roomkey.bus.redis_calls import Calls
from roomkey.bus.redis_connections import Connections

__all__ = ["RedisProofs"]


class RedisProofs:
    """Stores used DPoP proofs in Redis or Valkey: ``DPoP(url, store=RedisProofs.at("redis://localhost"))``.

    Redis keeps each proof for two minutes. If it loses them earlier, because it restarts without persistence or evicts
    keys, an attacker can use a recorded proof once more on another server.

    Args:
        connections: opens connections to the server.
        name: the name of the cluster. Clusters that share a Redis server need different ones.
        clock: seconds since the epoch.
    """

    def __init__(
        self, connections: Connections, *, name: str = "roomkey", clock: Callable[[], float] = time.time
    ) -> None:
        self._prefix = f"{{{name}}}:proof:"
        self._call = Calls(connections, "the store of used proofs")
        self._clock = clock

    @classmethod
    def at(cls, url: str, *, name: str = "roomkey") -> RedisProofs:
        """Return the store at a URL.

        Args:
            url: as for :class:`roomkey.bus.RedisJournal`.
            name: the name of the cluster.

        Raises:
            ConfigError: the URL is not valid.
        """
        return cls(Connections(url, name=f"{name}-proofs"), name=name)

    async def add_once(self, kind: Literal["proof"], value_hash: str, expires_at: int) -> bool:
        """Store a proof; see :class:`roomkey.core.dpop.ProofStore`.

        Raises:
            Unavailable: Redis did not respond in time, or refused. The proof may be stored.
        """
        milliseconds = max(1000, int((expires_at - self._clock()) * 1000))
        key = self._prefix + value_hash
        [answer] = await self._call(("SET", key, b"", "NX", "PX", str(milliseconds)))
        return answer is not None

    async def close(self) -> None:
        """Close the connection."""
        await self._call.close()
