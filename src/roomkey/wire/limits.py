"""How much of everything a peer may send."""

from __future__ import annotations

from dataclasses import dataclass, fields

_MOST = {"nesting": 250, "id_digits": 18}


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what is read.

    Args:
        payload: bytes of one WebSocket message, one polling body, or one packet together with its attachments.
        fragments: frames in one WebSocket message.
        attachments: binary attachments of one packet.
        namespaces: namespaces that one connection may join.
        namespace_length: bytes of a namespace's name.
        containers: arrays and objects in one packet; brackets in its strings count, too.
        nesting: levels of arrays and objects; no more than 250, which can be written again.
        id_digits: digits of an acknowledgement's id, no more than 18; 15 stay exact in JavaScript.

    Raises:
        ValueError: a limit below 1, or over the most that is possible.
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
                raise ValueError(f"{field.name} is at least 1")
        for name, most in _MOST.items():
            if getattr(self, name) > most:
                raise ValueError(f"{name} is at most {most}")
