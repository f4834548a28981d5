"""A stop that lets clients move: how long it takes, and in which order."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from support.virtual_loop import VirtualLoop

from roomkey.server.draining import ADMISSIONS_PER_SECOND, Drain, closing_period


class Session:
    def __init__(self) -> None:
        self.ended_at: float | None = None

    def end(self, reason: str) -> None:
        assert reason == "server disconnect"
        self.ended_at = asyncio.get_running_loop().time()


def drain(sessions: list[Session], others: int = 1, **seconds: float) -> Drain:
    made = Drain(**{"delay": 0.0, "longest": 5.0, "timeout": 10.0} | seconds)
    made.others = lambda: others
    made.sessions = lambda: sessions
    return made


@pytest.mark.parametrize(
    ("connections", "others", "period"),
    [
        (0, 3, 0.0),
        (10_000, 0, 0.0),
        (ADMISSIONS_PER_SECOND, 1, 1.0),
        (ADMISSIONS_PER_SECOND, 4, 0.25),
        (100 * ADMISSIONS_PER_SECOND, 1, 5.0),
    ],
)
def test_closing_period_depends_on_the_other_nodes(connections: int, others: int, period: float) -> None:
    assert closing_period(connections, others, 5.0) == period


async def test_node_alone_closes_connections_immediately() -> None:
    sessions = [Session() for _ in range(1000)]
    draining = drain(sessions, others=0)
    await draining.announce()
    closing = asyncio.ensure_future(draining.close_connections())
    await asyncio.sleep(0)
    assert closing.done()
    assert all(session.ended_at is not None for session in sessions)


def test_drain_closes_connections_at_even_intervals() -> None:
    sessions = [Session() for _ in range(ADMISSIONS_PER_SECOND // 4)]

    async def close() -> None:
        draining = drain(sessions)
        await draining.announce()
        await draining.close_connections()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(close())
    times = Counter(session.ended_at for session in sessions)
    assert list(times.values()) == [ADMISSIONS_PER_SECOND // 20] * 5
    assert [time - min(times) for time in times] == pytest.approx([0.0, 0.05, 0.1, 0.15, 0.2])


@pytest.mark.parametrize("method", ["announce", "close_connections"])
async def test_hurry_ends_the_waiting(method: str) -> None:
    sessions = [Session() for _ in range(100_000)]
    draining = drain(sessions, delay=60.0 if method == "announce" else 0.0, longest=100.0, timeout=300.0)
    waiting = asyncio.ensure_future(draining.announce())
    if method == "close_connections":
        await waiting
        waiting = asyncio.ensure_future(draining.close_connections())
    await asyncio.sleep(0)
    draining.hurry()
    await asyncio.wait_for(waiting, 20)
    assert all(session.ended_at for session in sessions) == (method == "close_connections")


async def test_drain_ends_by_its_timeout() -> None:
    sessions = [Session() for _ in range(100_000)]
    draining = drain(sessions, longest=100.0, timeout=0.1)
    await draining.announce()
    await asyncio.wait_for(draining.close_connections(), 20)
    assert all(session.ended_at for session in sessions)
    assert draining.seconds_left() == 0


async def test_problem_is_told_from_the_announcement_on() -> None:
    draining = drain([])
    assert draining.problem() is None
    await draining.announce()
    assert draining.problem() == "the server is stopping"
