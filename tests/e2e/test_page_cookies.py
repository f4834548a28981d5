"""A page that keeps its tokens in cookies, as in docs/login.md, in a real browser over HTTPS."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from e2e.test_page import browser, open_page  # noqa: F401 - fixtures
from support.certificate import make_certificate
from support.pairs import parametrize_engine
from support.product import ProductThread

from roomkey.server.settings import Settings

PAGE = """
    const post = async (path, body) => {
        const headers = { "Roomkey-CSRF": "1", ...(body && { "Content-Type": "application/json" }) };
        const answer = await fetch(`/auth/${path}`, { method: "POST", headers, body: body && JSON.stringify(body) });
        return [answer.status, await answer.json()];
    };
    const told = (socket, ...names) => new Promise((done) => {
        for (const name of names) socket.on(name, () => done(name));
    });
    const open = async (auth, transport) => {
        const socket = io({ auth, transports: [transport], forceNew: true, reconnection: false });
        return [socket, await told(socket, "connect", "connect_error")];
    };
    const ticket = async () => (await post("ticket"))[1].ticket;
"""


@pytest.fixture(scope="module")
def engine(request: pytest.FixtureRequest) -> str:
    return str(getattr(request, "param", "hub"))


@pytest.fixture(scope="module")
def served(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProductThread]:
    folder = tmp_path_factory.mktemp("tls")
    make_certificate(folder)
    tls = {"tls_cert": folder / "cert.pem", "tls_key": folder / "key.pem"}
    with ProductThread.running(Settings(engine=engine, cookies=True, via="handshake", **tls)) as made:
        yield made


@pytest.fixture
def page(
    served: ProductThread,
    open_page: Callable[..., Any],  # noqa: F811
    caplog: pytest.LogCaptureFixture,
) -> Iterator[Any]:
    """Open the server's own page, on which the test acts as the application, and return a user's password."""
    opened = open_page(served.url, expected=("status of 401", "status of 400"), ignore_https_errors=True)
    opened.password = served.passwords()["ada"]
    yield opened
    assert not [one for one in caplog.get_records("call") if one.exc_info]


def do(page: Any, script: str) -> Any:
    return page.evaluate(f"async (password) => {{ {PAGE} {script} }}", page.password)


def log_in(page: Any) -> None:
    status, told = do(page, 'return post("login", { username: "ada", password, cookies: true });')
    assert (status, set(told)) == (200, {"expires_in"})


@parametrize_engine(("transport",), [("hub", "polling"), ("hub", "websocket"), ("python-socketio", "polling")])
def test_browser_sends_the_cookie_and_scripts_cannot_read_it(page: Any, transport: str) -> None:
    assert do(page, f'return (await open(undefined, "{transport}"))[1];') == "connect_error"
    log_in(page)
    assert do(page, "return document.cookie;") == ""
    kept = {cookie["name"]: cookie for cookie in page.context.cookies()}
    assert set(kept) == {"__Host-roomkey", "__Host-roomkey-refresh"}
    assert all(one["httpOnly"] and one["secure"] and one["sameSite"] == "Strict" for one in kept.values())
    assert do(page, f'return (await open(undefined, "{transport}"))[1];') == "connect"


@pytest.mark.parametrize("transport", ["polling", "websocket"])
def test_ticket_renews_a_connected_socket(page: Any, transport: str) -> None:
    log_in(page)
    before = page.context.cookies()
    told = do(
        page,
        f"""const [socket, first] = await open({{ token: await ticket() }}, "{transport}");
        const [refreshed] = await post("refresh");
        const renewed = told(socket, "authenticated", "unauthorized");
        socket.emit("authenticate", {{ token: await ticket() }});
        return [first, refreshed, await renewed];""",
    )
    assert told == ["connect", 200, "authenticated"]
    assert before != page.context.cookies(), "both tokens are new"


def test_logout_in_one_tab_disconnects_the_other(page: Any) -> None:
    log_in(page)
    other = page.context.new_page()
    other.goto(page.url)
    other.evaluate(
        f"""async () => {{ {PAGE}
            const [socket, first] = await open(undefined, "websocket");
            if (first !== "connect") throw new Error(first);
            window.ended = told(socket, "disconnect");
        }}"""
    )
    assert do(page, 'return post("logout");') == [200, {"sockets": 1}]
    assert other.evaluate("window.ended") == "disconnect"
    assert page.context.cookies() == []
    assert do(page, 'return (await post("refresh"))[0];') == 400
