"""A Redis server for one test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.brokers import Broker

__all__ = ["redis_server"]


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[Broker]:
    """Start Redis.

    It is not on a Unix socket: if such a Redis is lost, the oldest python-socketio tries again without a pause.
    """
    broker = Broker("redis", tmp_path).start()
    yield broker
    broker.kill()
