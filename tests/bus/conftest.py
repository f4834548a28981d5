from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from support.lag import AwakeLoop
from support.nodes import make_nodes

__all__ = ["make_nodes"]


def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Buses give up after a second, in which a process on a busy machine may stand still."""
    return {"asyncio": AwakeLoop}
