"""Socket.IO packets, read strictly."""

from __future__ import annotations

from typing import Any

from socketio import packet

from roomkey.socketio import content_json

_EVENTS = (packet.EVENT, packet.BINARY_EVENT)


def strict_packet(packet_class: Any, packet_json: Any = content_json) -> Any:
    """Return a strict subclass of a server's packet class, with a strict JSON module.

    It accepts strict JSON only. The name of an event that is a number becomes its text. Each attachment has exactly one
    placeholder (Socket.IO protocol 5): otherwise a small packet that names one attachment many times would become a
    large one for every client that it is relayed to.
    """

    class StrictPacket(packet_class):  # type: ignore[misc]
        json = packet_json

        def decode(self, encoded_packet: Any) -> Any:
            count = super().decode(encoded_packet)
            if self.packet_type in _EVENTS and isinstance(self.data, list) and self.data:
                self.data[0] = _name(self.data[0])
            return count

        def add_attachment(self, attachment: bytes) -> Any:
            count = self.attachment_count
            if len(self.attachments) + 1 == count:  # the last one: now they are put in their places
                numbers = _placeholders(self.data, at_most=count)
                if any(type(number) is not int for number in numbers) or sorted(numbers) != list(range(count)):
                    raise ValueError("placeholders and attachments do not match")
            return super().add_attachment(attachment)

    return StrictPacket


def _name(name: Any) -> Any:
    """Return an event's name; for a number, the text that JavaScript writes, because Node runs the handlers of that."""
    if isinstance(name, (int, float)) and not isinstance(name, bool):
        whole = isinstance(name, float) and name.is_integer() and abs(name) < 1e21
        return str(int(name) if whole else name)
    return name


def _placeholders(data: Any, *, at_most: int) -> list[Any]:
    """Return the numbers in all placeholders; the search ends when there are too many."""
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
