"""The numbers of connections that workers share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from roomkey.server.connection_counts import FRESH_SECONDS, SLACK, SLOTS, ConnectionCounts, new_table


class Table:
    def __init__(self) -> None:
        self.now = 1000.0
        self.descriptor = new_table()

    def entry(self, slot: int, connections: int = 0) -> ConnectionCounts:
        made = ConnectionCounts(self.descriptor, slot, clock=lambda: self.now)
        made.beat()
        for _ in range(connections):
            made.opened()
        return made


@pytest.fixture
def table() -> Iterator[Table]:
    made = Table()
    yield made
    os.close(made.descriptor)


def test_single_worker_is_never_ahead(table: Table) -> None:
    assert not table.entry(0, 1000).is_ahead()


def test_worker_is_ahead_of_the_mean_of_all(table: Table) -> None:
    first, last = table.entry(0), table.entry(SLOTS - 1)
    for _ in range(2 * SLACK):
        first.opened()
    assert not first.is_ahead()  # the mean is half of it
    first.opened()
    assert first.is_ahead()
    assert not last.is_ahead()
    first.closed()
    assert not first.is_ahead()


def test_slack_grows_with_the_mean(table: Table) -> None:
    first, _ = table.entry(0, 10_100), table.entry(1, 9_900)
    assert not first.is_ahead()


@pytest.mark.parametrize("why", ["silent", "left", "cleared"])
def test_worker_that_does_not_accept_is_not_waited_for(table: Table, why: str) -> None:
    busy, other = table.entry(0, 100), table.entry(1)
    assert busy.is_ahead()
    if why == "silent":
        table.now += FRESH_SECONDS + 0.1
        busy.beat()
    elif why == "left":
        other.leave()
    else:
        other.clear()
    assert not busy.is_ahead()


def test_cleared_entry_can_be_used_again(table: Table) -> None:
    table.entry(3, 500).clear()
    fresh, other = table.entry(3, 1), table.entry(4, 1)
    assert not fresh.is_ahead()
    assert not other.is_ahead()
