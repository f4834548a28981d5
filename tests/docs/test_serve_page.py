"""The page about ``roomkey serve``: every setting, and every call of the admin API."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.live import Raw, serve
from support.login_server import CHEAP

from roomkey import Key, KeySet
from roomkey.auth import Passwords
from roomkey.server.api import SCOPE
from roomkey.server.app import Application, build
from roomkey.server.config_file import ConfigFile
from roomkey.server.metrics import METRICS
from roomkey.server.settings import Settings, default_of
from roomkey.server.settings_sources import load_settings
from roomkey.stores import Stores

PAGE = (Path(__file__).parents[2] / "docs" / "serve.md").read_text()
EXAMPLES = re.findall(r"^```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
CALLS = re.findall(r"^    curl -s -H @headers (.*)$", PAGE, re.MULTILINE)


def row(name: str) -> str:
    """The line of a setting in the table: its name, its default as in TOML, and its line of help."""
    field = Settings.model_fields[name]
    default = field.default if isinstance(field.default, (bool, int, float, str, tuple)) else str(field.default)
    written = f"`{json.dumps(default)}`" if field.default is not None else default_of(name)
    return f"| `{name}` | {written} | {field.description} |"


def section(heading: str) -> str:
    return PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def test_table_has_every_setting_as_it_is_declared() -> None:
    table = [line for line in section("Settings").splitlines() if re.match(r"\| `[a-z_]+` \|", line)]
    assert table == [row(name) for name in Settings.model_fields]


def test_table_has_every_metric_as_it_is_described() -> None:
    table = [line for line in section("Metrics").splitlines() if line.startswith("| `")]
    described = []
    for name, one in METRICS.items():
        label = f" (`{one.label}`)" if one.label else ""
        described.append(f"| `{name}`{label} | {one.kind} | {one.text} |")
    assert table == described


def test_alerts_use_metrics_that_exist() -> None:
    names = {*METRICS}
    names |= {f"{name}_total" for name, one in METRICS.items() if one.kind == "counter"}
    names |= {f"{name}_bucket" for name, one in METRICS.items() if one.kind == "histogram"}
    used = set(re.findall(r"roomkey_\w+", section("Metrics").rpartition("```yaml")[2]))
    assert used <= names
    assert len(used) > 5


def test_example_file_can_be_loaded() -> None:
    for example in EXAMPLES:
        assert load_settings(ConfigFile.parse(example))


@pytest.fixture
async def product() -> AsyncIterator[Application]:
    stores, passwords = Stores.at(), Passwords(hasher=CHEAP)
    made = build(Settings(admin_api=True), stores, KeySet([Key.generate("ES256")]), passwords=passwords)
    yield made
    await made.close()
    passwords.close()
    await stores.close()


def request_of(call: str, socket_id: str) -> dict[str, Any]:
    """What curl sends for a line of the page."""
    words = shlex.split(call.replace("$ID", socket_id))
    options = dict(pairwise(words))
    [url] = [word for word in words if word.startswith("localhost:8000")]
    body = options.get("-d")
    return {
        "method": options.get("-X", "GET" if body is None else "POST"),
        "url": url.removeprefix("localhost:8000"),
        "content": body,
    }


async def test_every_call_of_the_admin_api_works(product: Application) -> None:
    headers = {
        "Authorization": f"Bearer {product.issuer.issue('ops', scopes=[SCOPE])}",
        "Content-Type": "application/json",
    }
    called = set()
    async with serve(product.asgi) as host, httpx.AsyncClient(base_url=f"http://{host}", headers=headers) as http:
        ada = await Raw.open(host)
        assert (await ada.ask({"token": product.issuer.issue("ada", rooms=["red"])})).startswith("40")
        await ada.event("join-room", "red", ack=1)
        assert (await ada.expect_ack(1))[0]["ok"] is True
        for call in CALLS:
            found = (await http.get("/api/sockets")).json()["sockets"]
            asked = request_of(call, found[0]["id"] if found else "")
            answer = await http.request(**asked)
            assert answer.is_success, (call, answer.text)
            called.add((asked["method"], asked["url"].partition("?")[0]))
        await ada.close()
        document = (await http.get("/openapi.json")).json()["paths"]
    for path, operations in document.items():
        if path.startswith("/api/"):
            pattern = re.compile(re.sub(r"{\w+}", "[^/]+", path))
            shown = {method.lower() for method, url in called if pattern.fullmatch(url)}
            assert shown == operations.keys(), path
