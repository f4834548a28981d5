"""Limits for what a peer can send."""

from __future__ import annotations

from dataclasses import dataclass, fields

_MOST = {"nesting": 250, "id_digits": 18}


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits for the input of one connection.

    Args:
        payload: bytes of a WebSocket message, of a polling body, or of a packet with its attachments.
        fragments: frames of a WebSocket message.
        attachments: binary attachments of a packet.
        namespaces: namespaces of a connection.
        namespace_length: bytes of the name of a namespace.
        containers: arrays and objects in a packet; brackets in its strings count too.
        nesting: levels of arrays and objects, at most 250: deeper values cannot be written again.
        id_digits: digits of an acknowledgement ID, at most 18; JavaScript is exact up to 15.

    Raises:
        ValueError: a limit is below 1 or too high.
    """

    payload: int = 1_000_000
    fragments: int = 1024
    attachments: int = 10
    namespaces: int = 32
    namespace_length: int = 255
    containers: int = 100_000
    nesting: int = 100
    id_digits: int = 15

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name) < 1:
                raise ValueError(f"{field.name} must be at least 1")
        for name, most in _MOST.items():
            if getattr(self, name) > most:
                raise ValueError(f"{name} must be at most {most}")
