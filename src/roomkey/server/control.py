"""What the parent and its workers tell each other, and what a worker is started with.

Each worker has one end of a socket pair. The parent first sends a line with the :class:`Start`, as JSON. Then both send
short lines. If the parent is gone, the worker reads the end of the stream, and stops.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass

__all__ = ["ALIVE", "DRAIN", "FAILED", "SERVES", "Start", "receive_start", "send_line", "send_start"]

ALIVE = b"alive"
"""From a worker, once a second."""

SERVES = b"serves"
"""From a worker, when it accepts connections."""

FAILED = b"failed "
"""From a worker that cannot start; the reason follows, as JSON."""

DRAIN = b"drain "
"""From the parent: stop. The number of workers that stay follows."""


@dataclass(frozen=True, slots=True)
class Start:
    """What a worker is started with.

    Attributes:
        number: the worker's, from 1; its successor has the same.
        slot: its entry in the table of connections.
        workers: how many there are.
        listener: the file descriptor of the listening socket, and its family, type and protocol.
        table: the file descriptor of the table.
        folder: the private folder of the sockets between the workers, and of a demo's database and keys.
        config: the path of the settings file, if the command line names one.
        options: the settings on the command line.
        demo: True for a demo.
        credentials_file: the file for the passwords of the demo's accounts.
        first: True for the process that starts before the others.
    """

    number: int
    slot: int
    workers: int
    listener: tuple[int, int, int, int]
    table: int
    folder: str
    config: str | None
    options: Mapping[str, object]
    demo: bool
    credentials_file: str | None
    first: bool


def send_line(control: socket.socket, line: bytes) -> None:
    """Send a line, if the other end is there and reads."""
    try:
        control.sendall(line + b"\n")
    except OSError:  # it is gone, or has not read for a long time: both ends notice that in other ways
        return


def send_start(control: socket.socket, start: Start) -> None:
    """Send what the worker is started with."""
    send_line(control, json.dumps(asdict(start), default=str).encode())


def receive_start(control: socket.socket) -> Start:
    """Wait for what the parent sends first.

    Raises:
        EOFError: the parent is gone.
    """
    line = b""
    while not line.endswith(b"\n"):
        data = control.recv(1)  # one byte, because other lines may follow
        if not data:
            raise EOFError
        line += data
    fields = json.loads(line)
    return Start(**{**fields, "listener": tuple(fields["listener"])})
