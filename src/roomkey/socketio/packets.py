"""Socket.IO packets, read strictly."""

from __future__ import annotations

from typing import Any

from roomkey.core import strict_json


def strict_packet(packet_class: Any) -> Any:
    """A subclass of a server's packet class: strict JSON, and each attachment stands in its packet exactly once.

    One placeholder for one attachment (Socket.IO protocol 5): otherwise a small packet that names one attachment many
    times becomes a large one for everybody it is relayed to.
    """

    class StrictPacket(packet_class):  # type: ignore[misc]
        json = strict_json

        @classmethod
        def reconstruct_binary(cls, data: Any, attachments: list[bytes]) -> Any:
            numbers = _placeholders(data, at_most=len(attachments))
            if any(type(number) is not int for number in numbers) or sorted(numbers) != list(range(len(attachments))):
                raise ValueError("placeholders and attachments do not match")
            return super().reconstruct_binary(data, attachments)

    return StrictPacket


def _placeholders(data: Any, *, at_most: int) -> list[Any]:
    """The numbers in all placeholders; the search ends when there are too many."""
    found: list[Any] = []
    todo = [data]
    while todo and len(found) <= at_most:
        value = todo.pop()
        if isinstance(value, list):
            todo.extend(value)
        elif isinstance(value, dict):
            if value.get("_placeholder") and "num" in value:
                found.append(value["num"])
            else:
                todo.extend(value.values())
    return found
