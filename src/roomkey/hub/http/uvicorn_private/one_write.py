"""Responses in one write: uvicorn writes a response's head and its body separately, which are two system calls."""

from __future__ import annotations

import asyncio
from typing import Any


class OneWrite:
    """The transport of one response, which sends the head together with what follows in the same turn of the loop.

    Args:
        transport: the connection.
        loop: its event loop.
    """

    __slots__ = ("_begun", "_held", "_loop", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._begun = False
        self._held = b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Hold the first data until the next, or until this turn of the event loop is over; write all other data."""
        if not self._begun:
            self._begun = True
            self._held = data
            self._loop.call_soon(self._flush)
        else:
            held, self._held = self._held, b""
            self._transport.write(held + data if held else data)

    def _flush(self) -> None:
        held, self._held = self._held, b""
        if held and not self._transport.is_closing():
            self._transport.write(held)

    def close(self) -> None:
        """Close when everything is sent."""
        self._flush()
        self._transport.close()
