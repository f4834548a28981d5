"""Nodes that know each other, without a bus."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from roomkey.bus.messages import node_id
from roomkey.bus.peers import Peers

KEYS = (b"p" * 32,)


class Participant:
    """A node: its ID, and those that are alive."""

    def __init__(self) -> None:
        self.id = node_id(os.urandom(6))
        self.address: str | None = None
        self.live: dict[str, Any] = {}


@dataclass
class Neighbors:
    """Makes nodes that are alive for each other.

    Args:
        directory: of their Unix sockets; None links them over TCP.
    """

    directory: Path | None = None
    participants: list[Participant] = field(default_factory=list)

    def peers(self, keys: tuple[bytes, ...] = KEYS, **settings: Any) -> Peers:
        """Return the links of a new node."""
        participant = Participant()
        for other in self.participants:
            participant.live[other.id] = other
            other.live[participant.id] = participant
        self.participants.append(participant)
        listen = "127.0.0.1:0" if self.directory is None else None
        return Peers(participant, keys, directory=self.directory, listen=listen, **settings)
