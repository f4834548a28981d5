"""CONNECT payloads that wait for the connect handler, because their sockets have not authenticated yet."""

from __future__ import annotations

from roomkey.core import strict_json

MAX_KEPT_AUTH = 16_384
"""Characters of CONNECT payloads that one connection can have kept for its connect handlers."""


class KeptPayloads(dict[str, str]):
    """The payloads of one connection, by namespace.

    They are kept as JSON: decoded, a payload can take twenty times as much memory.
    """

    def keep(self, namespace: str, payload: object) -> bool:
        """Keep a payload.

        Returns:
            False if all payloads together would be over :data:`MAX_KEPT_AUTH`; this one is not kept then.
        """
        text = strict_json.dumps(payload, separators=(",", ":"))
        if len(text) + sum(map(len, self.values())) > MAX_KEPT_AUTH:
            return False
        self[namespace] = text
        return True

    def take(self, namespace: str) -> object:
        """Remove and return the payload of a namespace, or return None."""
        text = self.pop(namespace, None)
        return None if text is None else strict_json.loads(text)
