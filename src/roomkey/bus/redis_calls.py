"""Calls to one Redis server, one after the other on one connection, each within a limited time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from roomkey.bus.redis_connections import (
    AbstractConnection,
    Connections,
    LostConnection,
    RedisError,
    ResponseError,
    hint,
    pack,
    reason,
    send,
)
from roomkey.errors import Unavailable
from roomkey.extras import needs
from roomkey.stores.patience import finishes_within

with needs("redis", "roomkey.bus.RedisJournal"):
    from redis.exceptions import MovedError

__all__ = ["CALL_SECONDS", "Calls", "Words"]

Words = tuple[str | bytes, ...]
"""A command."""

CALL_SECONDS = 1.0
"""How long a call may take by default."""


class Calls:
    """Calls commands. A connection that fails is closed, and the next call opens another one.

    Args:
        connections: opens them.
        what: what is unavailable if a call fails, for the error.
    """

    def __init__(self, connections: Connections, what: str) -> None:
        self._connections = connections
        self._what = what
        self._connection: AbstractConnection | None = None
        self._server: tuple[str, int] | None = None  # of the cluster
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turn = asyncio.Lock()

    async def __call__(self, *commands: Words, seconds: float = CALL_SECONDS) -> list[Any]:
        """Send commands at once, and return their answers; bytes stay bytes.

        Args:
            commands: they are never repeated.
            seconds: how long all of them may take.

        Raises:
            Unavailable: the server did not respond in time, or refused one of them. They may have been carried out.
        """
        self._use_running_loop()
        task = asyncio.ensure_future(self._exchange(commands))
        try:
            if await finishes_within(task, seconds):
                return task.result()
        except (RedisError, OSError, EOFError) as error:
            why = reason(error)
            raise Unavailable(f"{self._what} is unavailable ({why}){hint(why)}") from error
        finally:
            task.cancel()  # this closes the connection: an answer that is still to come belongs to no other call
        raise Unavailable(f"{self._what} did not respond within {seconds:g} s")

    def _use_running_loop(self) -> None:
        """Forget what belongs to another event loop: a connection can only be used on its own."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._connection, self._turn = loop, None, asyncio.Lock()

    async def _exchange(self, commands: Sequence[Words]) -> list[Any]:
        async with self._turn:
            try:
                return await self._try(commands)
            except MovedError as moved:  # it was not carried out
                await self._drop()
                self._server = (moved.host or self._connections.host, moved.port)
                return await self._try(commands)

    async def _try(self, commands: Sequence[Words]) -> list[Any]:
        answers = []
        try:
            if self._connection is None or not self._connection.is_connected:
                self._connection = await self._connections.open(*(self._server or ()))
            await send(self._connection, [pack(*words) for words in commands])
            for _ in commands:
                answers.append(await _answer(self._connection))
        except BaseException as error:  # also if it is canceled: answers that are still due would be taken for others
            await self._drop()
            if isinstance(error, (RedisError, OSError)):
                self._server = None  # perhaps another one is responsible now
            raise
        for answer in _flat(answers):
            if isinstance(answer, Exception):
                raise answer
        return answers

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)

    async def close(self) -> None:
        """Close the connection."""
        if self._loop is asyncio.get_running_loop():
            await self._drop()


async def _answer(connection: AbstractConnection) -> Any:
    """Return an answer. An error is returned, too, because the answers to the next commands follow."""
    try:
        return await connection.read_response(disable_decoding=True, disconnect_on_error=False)
    except LostConnection:
        raise
    except ResponseError as error:
        return error


def _flat(answers: Sequence[Any]) -> list[Any]:
    """Return answers, and those within the answer to EXEC."""
    return [each for answer in answers for each in (answer if isinstance(answer, list) else [answer])]
