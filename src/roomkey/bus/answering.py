"""The answers of one node to the questions of others."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import Counter
from collections.abc import Awaitable, Callable

from roomkey.bus.questions import answer_body, read_question

__all__ = ["Answerer", "Answering"]

LOG = logging.getLogger("roomkey.bus")

Answerer = Callable[[str, bytes], bytes | Awaitable[bytes]]
"""Called with the name of the asking node and the question; returns the answer, or an awaitable of it."""

MAX_ANSWERING = 1000
"""The most questions that are being answered at a time; more are refused."""


class Answering:
    """Calls the functions that answer questions, and sends what they return.

    Args:
        send: sends the body of an answer to a node. It raises ValueError for an answer that is too large.
        counts: the counts of the node.

    Attributes:
        handlers: the function for each kind of question.
    """

    def __init__(self, send: Callable[[str, bytes], None], counts: Counter[str]) -> None:
        self.handlers: dict[str, Answerer] = {}
        self._send = send
        self._counts = counts
        self._tasks: set[asyncio.Task[None]] = set()

    def asked(self, sender: str, kind: str, body: bytes) -> None:
        """Answer a question, now or later. If there is no answer, tell the asking node, so that it does not wait."""
        try:
            number, question = read_question(body)
        except ValueError:
            self._counts["dropped: malformed"] += 1
            return
        handler = self.handlers.get(kind)
        if handler is None or len(self._tasks) >= MAX_ANSWERING:
            self._counts["dropped: unknown kind" if handler is None else "dropped: busy"] += 1
            self._reply(sender, number, None)
            return
        try:
            answer = handler(sender, question)
        except Exception:  # the asker is told, so that it does not wait
            self._failed(kind)
            answer = None
        if inspect.isawaitable(answer):
            task = asyncio.get_running_loop().create_task(self._reply_later(sender, number, kind, answer))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        else:
            self._reply(sender, number, answer)

    async def _reply_later(self, sender: str, number: bytes, kind: str, work: Awaitable[bytes]) -> None:
        answer = None
        try:
            answer = await work
        except Exception:  # the asker is told, so that it does not wait
            self._failed(kind)
        self._reply(sender, number, answer)

    def _reply(self, sender: str, number: bytes, answer: bytes | None) -> None:
        try:
            self._send(sender, answer_body(number, answer))
        except ValueError as error:  # it is too large
            LOG.error("could not answer a question of another node: %s", error)
            self._send(sender, answer_body(number, None))

    def _failed(self, kind: str) -> None:
        self._counts["failed"] += 1
        LOG.exception("could not answer a question of another node of the kind %r", kind)

    def close(self) -> None:
        """Stop answering."""
        for task in self._tasks:
            task.cancel()
