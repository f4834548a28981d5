"""The fixtures for pytest, other test frameworks, and the page about testing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

from roomkey.core.verifier import Verifier
from roomkey.testing import connect

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
LOOP = ("-o", "asyncio_default_fixture_loop_scope=function")

TEST = """
from roomkey.hub import Hub
from roomkey.testing import assert_refused, connect, settle

{mark}
async def test_client(roomkey_issuer, roomkey_clock):
    hub = Hub(roomkey_issuer.verifier(), clock=roomkey_clock)
    client = await connect(hub, token=roomkey_issuer.issue("ada"))
    with assert_refused(code="credentials_required"):
        await connect(hub)
    roomkey_clock.advance(3600)
    await settle()
    assert client.closed.reason == "token_expired"
    await connect(hub, token=roomkey_issuer.issue("ada"))  # and does not disconnect
"""


def run(folder: Path, text: str, *arguments: str) -> str:
    """Run a test file in a process of its own, where warnings are errors, and return what pytest printed."""
    (folder / "test_it.py").write_text(text)
    (folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    told = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100, env=plain_environment())
    return told.stdout + told.stderr


def plain_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COV_"))} | {
        "PYTEST_PLUGINS": "pytest_roomkey"
    }


def test_pytest_finds_the_fixtures():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    [(name, module)] = project["project"]["entry-points"]["pytest11"].items()
    assert name == module  # so that "-p" with the name does not load it twice
    assert find_spec(module) is not None
    assert "src/pytest_roomkey" in project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]


def test_plugin_imports_nothing_before_a_fixture_is_used():
    script = "import pytest, pytest_roomkey, sys; print([name for name in sys.modules if name.startswith('roomkey')])"
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


@pytest.mark.long
@pytest.mark.parametrize(
    ("mark", "arguments"),
    [
        ("", (*LOOP, "-o", "asyncio_mode=auto")),
        ("import pytest\n@pytest.mark.asyncio", (*LOOP, "-o", "asyncio_mode=strict")),
        ("import pytest\n@pytest.mark.anyio", ("-p", "no:asyncio", "-p", "anyio")),
    ],
    ids=["pytest-asyncio auto", "pytest-asyncio strict", "anyio"],
)
def test_clients_work_in_each_framework(tmp_path, mark, arguments):
    text = TEST.format(mark=mark)
    if "anyio" in mark:
        text += "\n@pytest.fixture\ndef anyio_backend():\n    return 'asyncio'\n"
    assert "1 passed" in (told := run(tmp_path, text, *arguments)), told


@pytest.mark.long
def test_clients_work_in_unittest(tmp_path):
    body = "\n".join(f"    {line}" for line in TEST.format(mark="").split("\n\n", 1)[1].splitlines())
    body = body.replace("test_client(roomkey_issuer, roomkey_clock)", "test_client(self)").replace(
        "        hub =",
        "        roomkey_clock = Clock()\n"
        "        roomkey_issuer = Issuer.ephemeral(clock=roomkey_clock.now)\n"
        "        hub =",
    )
    (tmp_path / "test_it.py").write_text(
        "import unittest\nfrom roomkey import Issuer\nfrom roomkey.hub import Hub\n"
        "from roomkey.testing import Clock, assert_refused, connect, settle\n\n"
        f"class Clients(unittest.IsolatedAsyncioTestCase):\n{body}\n"
    )
    command = [sys.executable, "-W", "error", "-m", "unittest", "-v", "test_it"]
    told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert told.returncode == 0, told.stderr
    assert "OK" in told.stderr


@pytest.mark.long
def test_page_about_testing_is_a_test(tmp_path):
    blocks = BLOCK.findall((ROOT / "docs" / "testing.md").read_text())
    (tmp_path / "app.py").write_text(blocks[0])
    text = "\n\n".join(blocks[1:])
    told = run(tmp_path, text, *LOOP, "-o", "asyncio_mode=auto")
    assert f"{len(re.findall('^(?:async )?def test_', text, re.MULTILINE))} passed" in told, told


async def test_fixtures_belong_together(roomkey_clock, roomkey_issuer, roomkey_provider, make):
    app = make(verifier=Verifier.any_of(roomkey_issuer.verifier(), roomkey_provider.verifier()))
    for issuer in (roomkey_issuer, roomkey_provider):
        client = await connect(app.sio, token=issuer.issue("ada"))
        assert client.is_connected
