"""Real servers: ``python -m roomkey serve`` in a separate process."""

from __future__ import annotations

import gc
import inspect
import os
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest
import socketio
from support import examples
from support.memory_tables import copy_tables
from support.postgres import postgres
from support.serve_process import Served, start_server
from xdist.scheduler import LoadScopeScheduling

__all__ = ["demo_server", "engine", "examples", "postgres", "serve"]

# Each client would read all certificates of the system, which takes longer than most tests.
httpx._transports.default.create_ssl_context = cache(httpx._transports.default.create_ssl_context)

# A busy machine can need more than the 5 s that clients of tests would wait for a response.
httpx._config.DEFAULT_TIMEOUT_CONFIG.read = 30.0


def wait_longer(connect: Any) -> None:
    """Let a client of python-socketio wait for the server longer than the default, a second."""
    names = list(inspect.signature(connect).parameters)[-len(connect.__defaults__) :]
    defaults = dict(zip(names, connect.__defaults__, strict=True)) | {"wait_timeout": 20}
    connect.__defaults__ = tuple(defaults.values())


wait_longer(socketio.Client.connect)
wait_longer(socketio.AsyncClient.connect)


TOGETHER = re.compile(
    r"tests/(?:bus/contract|bus/test_journal\.py|bus/test_redis\.py|cluster|e2e/\w+\.py"
    r"|server/test_(?:openapi|run|workers_together)\.py"
    r"|hosts/.*\b(?:socketio|django|flask)-(?:gunicorn-)?"
    r"(?:threading|gthread|eventlet|gevent-unpatched|geventwebsocket|gevent)\b)"
)
"""What the names of tests have in common that share browsers or processes, which take seconds to start."""


class Together(LoadScopeScheduling):
    """Give tests that share processes to one of pytest's processes, the largest groups first, and then the others.

    The marker ``xdist_group`` has no effect with pytest 9.2 and pytest-xdist 3.8.
    """

    def _split_scope(self, nodeid: str) -> str:
        found = TOGETHER.match(nodeid)
        if found is None:
            return nodeid
        return re.sub(r"hosts/.*(\[|-)(?=socketio|django|flask)", "hosts/", found[0])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Together:
    return Together(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    copy_tables()
    _hide_tests_from_the_garbage_collector()


def _hide_tests_from_the_garbage_collector() -> None:
    """It would visit their million objects again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", params=["hub", "python-socketio"])
def engine(request: pytest.FixtureRequest) -> str:
    """Return the name of the engine. Tests that use a server of this fixture run with both."""
    return str(request.param)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder, without settings from the environment."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.upper().startswith("ROOMKEY_"):
            monkeypatch.delenv(name)
    return tmp_path


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """Return an empty database: a file or a URL. Tests that use it run with both."""
    if request.param == "sqlite":
        return tmp_path / "roomkey.sqlite3"
    return str(request.getfixturevalue("postgres").database())


@pytest.fixture
def serve(tmp_path: Path, engine: str) -> Iterator[Callable[..., Served]]:
    """Return a function that starts a server with these flags. The server is stopped after the test."""
    started: list[Served] = []

    def start(*arguments: str, demo: bool = True) -> Served:
        started.append(start_server(tmp_path, "--engine", engine, *arguments, demo=demo))
        return started[-1]

    yield start
    for served in started:
        served.end()


@pytest.fixture(scope="session")
def demo_server(tmp_path_factory: pytest.TempPathFactory, engine: str) -> Iterator[Served]:
    """Return one server for all tests that do not change it."""
    served = start_server(tmp_path_factory.mktemp("demo"), "--engine", engine)
    yield served
    served.end()
