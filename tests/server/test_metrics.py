"""``/metrics``: the numbers, who can read them, and one scrape for all workers of a machine."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.hubs import make_hubs, node
from support.live import Raw, serve
from support.login_server import CHEAP, HASHED, PASSWORD
from support.offline import turns
from support.world import BOTH

from roomkey import Key, KeySet
from roomkey.auth import Passwords
from roomkey.server import metrics as metrics_module
from roomkey.server.app import Application, build
from roomkey.server.metrics import METRICS, Metrics
from roomkey.server.metrics_route import SCOPE
from roomkey.server.settings import Settings
from roomkey.stores import Account, Client, Stores

__all__ = ["make_hubs"]

SECRET_HASH = hashlib.sha256(b"secret").hexdigest()
CLIENTS = (
    Client("prometheus", SECRET_HASH, grants=("client_credentials",), scopes=(SCOPE,)),
    Client("other", SECRET_HASH, grants=("client_credentials",), scopes=("chat",)),
    Client("public", None, redirect_uris=("https://app.example/back",), scopes=("chat",)),
)


def read(text: str) -> dict[str, dict[tuple[str, ...], float]]:
    """Return the values of a scrape by the name of the sample, and by its labels in alphabetical order."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = tuple(value for _, value in sorted(sample.labels.items()))
            found.setdefault(sample.name, {})[labels] = sample.value
    return found


class Desk:
    """A running product and its sockets."""

    def __init__(self, product: Application, host: str) -> None:
        self.product, self.host = product, host
        self.sockets: list[Raw] = []

    async def get(self, address: str = "127.0.0.1", host: str = "127.0.0.1:8000", **options: Any) -> httpx.Response:
        transport = httpx.ASGITransport(self.product.asgi, client=(address, 5000))
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}") as http:
            return await http.get("/metrics", **options)

    async def scrape(self) -> dict[str, dict[tuple[str, ...], float]]:
        answer = await self.get()
        assert answer.status_code == 200, answer.text
        return read(answer.text)

    async def member(self, subject: str, **claims: Any) -> Raw:
        raw = await Raw.open(self.host)
        self.sockets.append(raw)
        assert (await raw.ask({"token": self.product.issuer.issue(subject, **claims)})).startswith("40")
        return raw


@pytest.fixture
def engine() -> str:
    return "hub"


@pytest.fixture
async def make_desk(engine: str) -> AsyncIterator[Callable[..., Any]]:
    stores, passwords, made = Stores.at(), Passwords(hasher=CHEAP), []
    await stores.accounts.add(Account("ada", HASHED, rooms=("red",)))
    await stores.accounts.add(Account("boss", HASHED, roles=("roomkey:admin",)))
    for client in CLIENTS:
        await stores.clients.add(client)

    async def make(**settings: Any) -> Desk:
        given = Settings(**{"engine": engine, "metrics": True} | settings)
        product = build(given, stores, KeySet([Key.generate("ES256")]), passwords=passwords)
        context = serve(product.asgi)
        made.append((product, context))
        return Desk(product, await context.__aenter__())

    yield make
    for product, context in made:
        await product.close()
        await context.__aexit__(None, None, None)
    passwords.close()
    await stores.close()


# What it contains


async def test_metrics_count_what_happens(make_desk):
    desk = await make_desk()
    before = await desk.scrape()
    assert before["roomkey_sockets"] == {("admitted", "1"): 0, ("pending", "1"): 0}
    ada = await desk.member("ada", rooms=["red"])
    await ada.event("join-room", "red", ack=1)
    await ada.expect_ack(1)
    await desk.product.backend.sio.emit("news", 1, room="red")
    bad = await Raw.open(desk.host)
    desk.sockets.append(bad)
    assert (await bad.ask({"token": "x.y.z"})).startswith("44")
    now = await desk.scrape()
    assert now["roomkey_sockets"] == {("admitted", "1"): 1, ("pending", "1"): 0}
    assert now["roomkey_connections"][("websocket", "1")] >= 1
    assert now["roomkey_admissions_total"] == {("1",): 1}
    assert now["roomkey_refusals_total"] == {("malformed", "1"): 1}
    assert now["roomkey_events_total"] == {("1",): 3}
    assert now["roomkey_deliveries_total"] == {("1",): 1}
    assert now["roomkey_journal_available"] == {("1",): 1}
    assert now["roomkey_process_cpu_seconds_total"][("1",)] > 0


async def test_revocation_is_measured_until_its_sockets_are_closed(make_desk):
    desk = await make_desk()
    ada = await desk.member("ada")
    await desk.product.backend.guard.revoke(subject="ada")
    assert await ada.is_closed()
    now = await desk.scrape()
    assert now["roomkey_ended_sockets_total"] == {("token_revoked", "1"): 1}
    assert now["roomkey_revocation_close_seconds_count"] == {("1",): 1}
    assert now["roomkey_revocation_close_seconds_sum"][("1",)] < 5


async def test_late_timers_are_measured(make_desk, monkeypatch):
    monkeypatch.setattr(metrics_module, "LAG_SECONDS", 0.001)
    desk = await make_desk()
    await desk.scrape()
    for _ in range(5):
        await asyncio.sleep(0.002)
    now = await desk.scrape()
    assert now["roomkey_event_loop_lag_seconds_count"][("1",)] >= 3


@BOTH
async def test_metrics_of_both_engines_contain_no_secret_and_no_name(make_desk, engine):
    desk = await make_desk()
    token = desk.product.issuer.issue("grace-hopper", rooms=["bletchley"])
    raw = await Raw.open(desk.host)
    desk.sockets.append(raw)
    assert (await raw.ask({"token": token})).startswith("40")
    await raw.event("join-room", "bletchley", ack=1)
    await raw.expect_ack(1)
    text = (await desk.get()).text
    assert read(text)["roomkey_admissions_total"] == {("1",): 1}
    [socket] = desk.product.backend.guard.sockets()
    for name in ("grace-hopper", "bletchley", token, socket.sid, "127.0.0.1"):
        assert name not in text


async def test_every_metric_is_described_and_has_the_form_of_its_type(make_desk):
    desk = await make_desk()
    families = list(text_string_to_metric_families((await desk.get()).text))
    assert {family.name for family in families} <= {*METRICS}
    assert all(family.documentation == METRICS[family.name].text for family in families)
    assert all(family.type == METRICS[family.name].kind for family in families)


# Who can read it


async def test_metrics_are_not_served_by_default(make_desk):
    desk = await make_desk(metrics=False)
    assert (await desk.get()).status_code == 404


@pytest.mark.parametrize(
    ("address", "host", "headers"),
    [
        ("192.0.2.1", "127.0.0.1", {}),
        ("127.0.0.1", "chat.example", {}),
        ("127.0.0.1", "127.0.0.1", {"X-Forwarded-For": "192.0.2.1"}),
        ("127.0.0.1", "127.0.0.1", {"X-Real-IP": "192.0.2.1"}),
        ("127.0.0.1", "127.0.0.1", {"Via": "1.1 proxy"}),
        ("127.0.0.1", "localhost", {"Origin": "https://evil.example"}),
        ("127.0.0.1", "localhost", {"Sec-Fetch-Site": "cross-site"}),
    ],
)
async def test_strangers_cannot_read_metrics(make_desk, address, host, headers):
    desk = await make_desk()
    answer = await desk.get(address, host, headers=headers)
    assert (answer.status_code, "roomkey_" in answer.text) == (401, False)


async def test_program_on_this_machine_reads_metrics_over_its_port(make_desk):
    desk = await make_desk()
    async with httpx.AsyncClient(base_url=f"http://{desk.host}") as http:
        assert (await http.get("/metrics")).status_code == 200
        assert (await http.get("/metrics", headers={"X-Forwarded-For": "127.0.0.1"})).status_code == 401


async def test_nobody_reads_metrics_behind_a_proxy_without_a_credential(make_desk):
    desk = await make_desk(behind_proxy=True)
    assert (await desk.get()).status_code == 401
    assert (await desk.get(auth=("prometheus", "secret"))).status_code == 200


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:8000", "[::1]:8000"])
async def test_programs_on_this_machine_read_metrics(make_desk, host):
    desk = await make_desk()
    answer = await desk.get("::1" if "::1" in host else "127.0.0.1", host)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("client", "secret", "status"),
    [("prometheus", "secret", 200), ("prometheus", "wrong", 401), ("other", "secret", 403), ("public", "", 401)],
)
async def test_client_with_the_scope_reads_metrics_from_elsewhere(make_desk, client, secret, status):
    desk = await make_desk()
    assert (await desk.get("192.0.2.1", "chat.example", auth=(client, secret))).status_code == status


async def test_operator_reads_metrics_from_elsewhere(make_desk):
    desk = await make_desk()
    async with httpx.AsyncClient(base_url=f"http://{desk.host}") as http:
        for name, status in (("boss", 200), ("ada", 403)):
            login = await http.post("/auth/login", json={"username": name, "password": PASSWORD})
            headers = {"Authorization": f"Bearer {login.json()['access_token']}"}
            assert (await desk.get("192.0.2.1", "chat.example", headers=headers)).status_code == status


# Several workers


async def test_one_scrape_shows_all_workers_of_the_machine(make_hubs):
    world, *hubs = await make_hubs(3)
    places = [("1", "here"), ("2", "here"), ("1", "elsewhere")]
    made = [
        Metrics(hub.sio.guard, hub.sio, node(hub), worker=worker, machine=machine)
        for hub, (worker, machine) in zip(hubs, places, strict=True)
    ]
    await world.pass_time(4)  # a heartbeat tells the others
    for number, hub in enumerate(hubs):
        for _ in range(number + 1):
            await hub.member("ada")
    scraping = asyncio.ensure_future(made[0].scrape())
    await world.settle()
    now = read((await scraping).decode())
    assert now["roomkey_workers"] == {("1",): 2}
    assert now["roomkey_admissions_total"] == {("1",): 1, ("2",): 2}
    assert now["roomkey_nodes"] == {("1",): 3, ("2",): 3}
    assert now["roomkey_bus_connected"] == {("1",): 1, ("2",): 1}
    assert now["roomkey_bus_messages_total"][("sent", "1")] > 0
    for one in made:
        one.close()


async def test_worker_that_does_not_answer_is_counted_as_missing(make_hubs):
    world, *hubs = await make_hubs(2)
    made = [
        Metrics(hub.sio.guard, hub.sio, node(hub), worker=str(number + 1), machine="here")
        for number, hub in enumerate(hubs)
    ]
    await world.pass_time(4)
    world.network.deafen(node(hubs[1]))
    scraping = asyncio.ensure_future(made[0].scrape())
    await turns()
    await world.pass_time(2)
    now = read((await scraping).decode())
    assert now["roomkey_workers"] == {("1",): 1}
    assert now["roomkey_workers_missing"] == {("1",): 1}
    for one in made:
        one.close()


@pytest.mark.parametrize("answer", [b"", b"[1]", b'{"roomkey_admissions": 7}', b'{"x": {"": 1}}', b'{"roomkey_events"'])
async def test_answers_of_another_form_are_left_out(make_hubs, answer):
    world, *hubs = await make_hubs(2)
    node(hubs[1]).info.update(worker="2", machine="here")
    node(hubs[1]).answer("metrics", lambda *_: answer)
    made = Metrics(hubs[0].sio.guard, hubs[0].sio, node(hubs[0]), worker="1", machine="here")
    await world.pass_time(4)
    scraping = asyncio.ensure_future(made.scrape())
    await world.settle()
    now = read((await scraping).decode())
    assert now["roomkey_admissions_total"] == {("1",): 0}
    made.close()
