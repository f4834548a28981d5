"""A TCP proxy that can lose, delay and reset what passes."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Literal

__all__ = ["Proxy"]

Mode = Literal["pass", "drop", "delay", "delay answers", "reset"]


class Proxy:
    """Passes bytes on to a port, unless it is told not to.

    - ``drop``: accepts connections and bytes, and loses them, like a firewall.
    - ``delay``: holds every piece back for :attr:`seconds`.
    - ``delay answers``: the same for what the port sends.
    - ``reset``: resets all connections, and the new ones.

    Attributes:
        port: where it listens.
        seconds: the delay.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._mode: Mode = "pass"
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0
        self.seconds = 0.2

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def set(self, mode: Mode) -> None:
        """Change what happens to the bytes. Connections that have lost bytes are reset, because they are of no use."""
        if mode == "reset" or self._mode == "drop":
            for writer in self._writers:
                writer.transport.abort()
        self._mode = mode

    async def close(self) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._mode == "reset":
            writer.transport.abort()
            return
        try:
            there, to_there = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        both = {writer, to_there}
        self._writers |= both
        ways = ((reader, to_there, {"delay"}), (there, writer, {"delay", "delay answers"}))
        copies = [asyncio.ensure_future(self._copy(*way)) for way in ways]
        await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
        for task in copies:
            task.cancel()
        for each in both:
            each.transport.abort()
        self._writers -= both

    async def _copy(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, delayed: set[Mode]) -> None:
        with suppress(ConnectionError):
            while data := await source.read(65_536):
                if self._mode in delayed:
                    await asyncio.sleep(self.seconds)
                if self._mode != "drop":
                    target.write(data)
                    await target.drain()
