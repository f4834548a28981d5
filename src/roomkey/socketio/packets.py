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

        def add_attachment(self, attachment: bytes) -> Any:
            count = self.attachment_count
            if len(self.attachments) + 1 == count:  # the last one: now they are put in their places
                numbers = _placeholders(self.data, at_most=count)
                if any(type(number) is not int for number in numbers) or sorted(numbers) != list(range(count)):
                    raise ValueError("placeholders and attachments do not match")
            return super().add_attachment(attachment)

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
