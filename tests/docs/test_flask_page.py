"""The application of docs/flask.md, from the login to the logout."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import httpx
import pytest
from support.browser import launched
from support.live import Raw
from support.missing import missing
from support.wsgi_thread import serve

PAGE = (Path(__file__).parents[2] / "docs" / "flask.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
[HTML] = re.findall(r"^```html\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
CLIENT = Path(__file__).parents[1] / "js" / "node_modules" / "socket.io-client" / "dist" / "socket.io.esm.min.js"
DENIED = {"message": "Insufficient permissions", "code": "permission_denied", "type": "UnauthorizedError"}
DENIED |= {"reason": "permission_denied"}


@pytest.fixture
def page(monkeypatch):
    """The names that blocks of the page define."""
    monkeypatch.setenv("ROOMKEY_SECRET", "kT9vX2mQ8rL4wZ7yB1nC6dF3gH5jP0sA")

    def run(blocks: list[str]) -> dict[str, object]:
        module = ModuleType("app")
        monkeypatch.setitem(sys.modules, "app", module)
        names = vars(module)
        for block in blocks:
            exec(compile(block, "flask.md", "exec"), names)
        made.append(names)
        return names

    made: list[dict[str, object]] = []
    yield run
    for names in made:
        names["roomkey"].guard.close()


async def log_in(http, name, password):
    answer = await http.post("/login", json={"username": name, "password": password})
    assert answer.status_code == 200, answer.text
    return answer.json()["token"]


async def connect(host, token):
    client = await Raw.open(host)
    assert (await client.ask({"token": token})).startswith("40")
    return client


async def test_application_works_from_login_to_logout(page):
    app = page(BLOCKS[:1])["app"]
    with serve(app) as host:
        async with httpx.AsyncClient(base_url=f"http://{host}") as http:
            assert (await http.post("/login", json={"username": "ada", "password": "wrong"})).status_code == 401
            assert (await http.post("/logout")).status_code == 401
            token = await log_in(http, "ada", "correct horse")
            ada = await connect(host, token)
            bob = await connect(host, await log_in(http, "bob", "battery staple"))
            stranger = await Raw.open(host)
            assert (await stranger.ask()).startswith("44")
            assert await stranger.is_closed()
            for client in (ada, bob):
                await client.event("join", "red", ack=1)
                assert await client.expect_ack(1) == ["joined red"]
            await bob.event("join", "blue", ack=2)
            assert await bob.expect_ack(2) == [{"ok": False, "error": DENIED}]
            await bob.event("message", "red", "hello")
            assert await ada.expect_event("message") == [{"from": "bob", "text": "hello"}]
            await bob.event("message", "blue", "hello", ack=3)
            assert await bob.expect_ack(3) == [{"ok": False, "error": DENIED}]
            await bob.event("announce", "hello", ack=4)
            assert await bob.expect_ack(4) == [{"ok": False, "error": DENIED}]
            await ada.event("announce", "hello")
            assert await bob.expect_event("announcement") == ["hello"]
            answer = await http.post("/logout", headers={"Authorization": f"Bearer {token}"})
            assert answer.json() == {"sockets": 1}
            assert await ada.is_closed()
            again = await Raw.open(host)
            assert (await again.ask_data({"token": token}))["data"]["reason"] == "token_revoked"
            for client in (bob, again):
                await client.close()


@pytest.mark.long
def test_web_page_logs_in_joins_and_logs_out(page, tmp_path):
    if not CLIENT.is_file():
        missing("the JavaScript packages are not installed; with Node 20 or later: npm ci --prefix tests/js")
    app = page(BLOCKS[:1])["app"]
    app.static_folder = tmp_path
    (tmp_path / "chat.html").write_text(HTML)
    with serve(app) as host, launched() as browser:
        tab = browser.new_page()
        tab.route(
            "https://cdn.socket.io/4.8.4/socket.io.esm.min.js",
            lambda route: route.fulfill(
                body=CLIENT.read_text(), content_type="text/javascript", headers={"Access-Control-Allow-Origin": "*"}
            ),
        )
        joined = tab.expect_console_message(lambda told: told.text == "joined red")
        denied = tab.expect_console_message(lambda told: told.text.startswith("{ok: false"))
        with joined, denied:
            tab.goto(f"http://{host}/static/chat.html")
        with tab.expect_console_message(lambda told: told.text == "disconnected: jwt revoked"):
            tab.click("button")


def test_tests_of_the_page_pass(page):
    [tests] = [block for block in BLOCKS if block.startswith("# test_app.py")]
    names = page([BLOCKS[0], tests])
    tests = [value for name, value in names.items() if name.startswith("test_")]
    assert len(tests) == 3
    for test in tests:
        test()


async def test_application_of_the_whole_page_works(page):
    names = page(BLOCKS)
    issuer = names["issuer"]
    with serve(names["app"]) as host:
        async with httpx.AsyncClient(base_url=f"http://{host}") as http:
            headers = {"Authorization": f"Bearer {issuer.issue('ada')}"}
            denied = await http.get("/messages", headers=headers)
            assert (denied.status_code, denied.json()) == (403, {"reason": "permission_denied"})
            assert (await http.get("/messages")).headers["www-authenticate"] == 'Bearer realm="roomkey"'
            ada = await connect(host, issuer.issue("ada"))
            await ada.event("ban", "bob", ack=1)
            assert await ada.expect_ack(1) == [{"sorry": "PermissionDenied"}]
            mod = await connect(host, issuer.issue("mod", roles=["moderator"]))
            await mod.event("ban", "ada", ack=1)
            assert await mod.expect_ack(1) == [{"sockets": 1}]
            assert await ada.is_closed()
            await mod.event("delete account", ack=2)
            assert await mod.expect_ack(2) == ["deleted"]
            await mod.close()
    made = names["create_app"]()
    assert made.extensions["roomkey"].guard is names["extension_roomkey"].guard
    names["extension_roomkey"].guard.close()
