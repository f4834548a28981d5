"""A CONNECT that runs through python-socketio in two parts, without a task of its own."""

from __future__ import annotations

import asyncio

import pytest
from socketio.exceptions import ConnectionRefusedError as Refusal

from roomkey.errors import Unavailable
from roomkey.socketio.host import ConnectAttempt


class Library:
    """The part of python-socketio that makes a socket, asks about it, and answers."""

    def __init__(self, *, waits: bool = False, error: Exception | None = None, asks: bool = True) -> None:
        self.did: list[object] = []
        self.waits, self.error, self.asks = waits, error, asks
        self.attempt = ConnectAttempt(self.handle)

    async def handle(self) -> None:
        try:
            await self.pause()
            if self.error is not None:
                raise self.error
            if self.asks:
                await self.attempt.decide("sid")
            await self.pause()
            self.did.append("accepted")
        except Refusal as refusal:
            self.did.append(refusal.error_args)
        except asyncio.CancelledError:
            self.did.append("cancelled")
            raise
        finally:
            self.did.append("ended")

    async def pause(self) -> None:
        if self.waits:
            await asyncio.sleep(0)


@pytest.mark.parametrize("waits", [False, True])
async def test_attempt_runs_to_the_question_and_then_to_the_end(waits):
    library = Library(waits=waits)
    assert await library.attempt.begin() == "sid"
    assert library.attempt.is_waiting
    assert library.did == []
    await library.attempt.finish(None)
    assert not library.attempt.is_waiting
    assert library.did == ["accepted", "ended"]


def test_attempt_needs_no_turn_of_the_event_loop():
    library = Library()
    with pytest.raises(StopIteration) as ended:
        library.attempt.begin().send(None)
    assert ended.value.value == "sid"
    with pytest.raises(StopIteration):
        library.attempt.finish(None).send(None)
    assert library.did == ["accepted", "ended"]


async def test_refused_attempt_raises_the_refusal_in_the_library():
    library = Library(waits=True)
    await library.attempt.begin()
    await library.attempt.finish(Refusal("no", {"code": 1}))
    assert library.did == [{"message": "no", "data": {"code": 1}}, "ended"]


async def test_attempt_passes_on_an_error_before_the_question():
    library = Library(waits=True, error=LookupError("inside"))
    with pytest.raises(LookupError):
        await library.attempt.begin()
    assert not library.attempt.is_waiting


async def test_attempt_without_a_question_is_unavailable():
    library = Library(asks=False)
    with pytest.raises(Unavailable):
        await library.attempt.begin()


async def test_cancelled_attempt_cancels_the_library():
    library = Library(waits=True)
    beginning = asyncio.ensure_future(library.attempt.begin())
    await asyncio.sleep(0)
    beginning.cancel()
    with pytest.raises(asyncio.CancelledError):
        await beginning
    assert library.did == ["cancelled", "ended"]


async def test_abandoned_attempt_closes_the_library():
    library = Library()
    await library.attempt.begin()
    library.attempt.abandon()
    assert library.did == ["ended"]
    ConnectAttempt(library.handle).abandon()  # never begun
