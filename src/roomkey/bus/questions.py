"""Questions to other nodes, and their answers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import count

__all__ = ["Answers", "Question", "Questions"]

NUMBER_BYTES = 8
OK, FAILED = b"\x01", b"\x00"


@dataclass(frozen=True, slots=True)
class Answers:
    """What the other nodes answered.

    Attributes:
        by_node: the answers.
        missing: the nodes that are alive, but did not answer in time, or could not.
        complete: True if every other node answered: no answer is missing, and the bus was connected. An application
            that must not miss any node, such as one that counts a limit, refuses if it is False.
    """

    by_node: Mapping[str, bytes]
    missing: frozenset[str]
    complete: bool


@dataclass(eq=False, slots=True)
class Question:
    """A question that waits for answers.

    Attributes:
        waits_for: the nodes that have not answered.
        until: when to stop waiting, by the monotonic clock.
        done: set when it is over.
    """

    number: bytes
    waits_for: set[str]
    until: float
    by_node: dict[str, bytes] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)
    done: asyncio.Event = field(default_factory=asyncio.Event)

    def settle(self, node: str, answer: bytes | None) -> None:
        """Take the answer of a node; None if it will not answer. Only the first one of a node that was asked counts."""
        if node not in self.waits_for:
            return
        self.waits_for.remove(node)
        if answer is None:
            self.missing.add(node)
        else:
            self.by_node[node] = answer
        if not self.waits_for:
            self.done.set()

    def give_up(self) -> None:
        """Do not wait any longer."""
        for node in list(self.waits_for):
            self.settle(node, None)
        self.done.set()

    def answers(self, *, connected: bool) -> Answers:
        """Return what was answered."""
        return Answers(self.by_node, frozenset(self.missing), connected and not self.missing)


class Questions:
    """The questions of one node that wait for answers."""

    def __init__(self) -> None:
        self._open: dict[bytes, Question] = {}
        self._numbers = count(1)

    def __len__(self) -> int:
        return len(self._open)

    def ask(self, nodes: Iterable[str], until: float) -> Question:
        """Begin a question to these nodes."""
        number = next(self._numbers).to_bytes(NUMBER_BYTES, "big")
        question = self._open[number] = Question(number, set(nodes), until)
        return question

    def close(self, question: Question) -> None:
        """Forget a question; later answers are ignored."""
        self._open.pop(question.number, None)

    def answered(self, node: str, body: bytes) -> bool:
        """Take an answer; return False if it belongs to no question."""
        question = self._open.get(body[:NUMBER_BYTES])
        status = body[NUMBER_BYTES : NUMBER_BYTES + 1]
        if question is None or status not in (OK, FAILED):
            return False
        question.settle(node, body[NUMBER_BYTES + 1 :] if status == OK else None)
        return True

    def left(self, node: str) -> None:
        """A node is gone: it will not answer."""
        for question in list(self._open.values()):
            question.settle(node, None)

    def next(self) -> float | None:
        """Return when the next question is over."""
        return min((question.until for question in self._open.values()), default=None)

    def expire(self, now: float) -> None:
        """Give up the questions whose time is over."""
        for question in list(self._open.values()):
            if question.until <= now:
                question.give_up()

    def give_up(self) -> None:
        """Give up all questions."""
        for question in list(self._open.values()):
            question.give_up()


def question_body(question: Question, body: bytes) -> bytes:
    """Return the body of a question's message."""
    return question.number + body


def read_question(body: bytes) -> tuple[bytes, bytes]:
    """Return the number and the body of a question.

    Raises:
        ValueError: it has no number.
    """
    if len(body) < NUMBER_BYTES:
        raise ValueError("a question has no number")
    return body[:NUMBER_BYTES], body[NUMBER_BYTES:]


def answer_body(number: bytes, answer: bytes | None) -> bytes:
    """Return the body of an answer's message; None if there is none."""
    return number + (FAILED if answer is None else OK + answer)
