"""A page that keeps its tokens in cookies, as docs/login.md has it, in a real browser over HTTPS."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from e2e.test_page import browser, open_page  # noqa: F401 - fixtures
from support.certificate import make_certificate

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


@pytest.fixture
def page(
    serve: Callable[..., Any],
    tmp_path: Path,
    open_page: Callable[..., Any],  # noqa: F811
) -> Iterator[Any]:
    """The server's own page, on which a test is the application, and somebody's password."""
    make_certificate(tmp_path)
    served = serve("--cookies", "--via", "handshake", "--tls-cert", "cert.pem", "--tls-key", "key.pem")
    opened = open_page(served.url, expected=("status of 401", "status of 400"), ignore_https_errors=True)
    opened.password = served.passwords()["ada"]
    yield opened
    assert "Traceback" not in served.errors()


def do(page: Any, script: str) -> Any:
    return page.evaluate(f"async (password) => {{ {PAGE} {script} }}", page.password)


def log_in(page: Any) -> None:
    status, told = do(page, 'return post("login", { username: "ada", password, cookies: true });')
    assert (status, set(told)) == (200, {"expires_in"})


@pytest.mark.parametrize("transport", ["polling", "websocket"])
def test_the_browser_brings_the_cookie_and_no_script_sees_it(page: Any, transport: str) -> None:
    assert do(page, f'return (await open(undefined, "{transport}"))[1];') == "connect_error"
    log_in(page)
    assert do(page, "return document.cookie;") == ""
    kept = {cookie["name"]: cookie for cookie in page.context.cookies()}
    assert set(kept) == {"__Host-roomkey", "__Host-roomkey-refresh"}
    assert all(one["httpOnly"] and one["secure"] and one["sameSite"] == "Strict" for one in kept.values())
    assert do(page, f'return (await open(undefined, "{transport}"))[1];') == "connect"


@pytest.mark.parametrize("transport", ["polling", "websocket"])
def test_a_live_socket_is_renewed_with_a_ticket(page: Any, transport: str) -> None:
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


def test_logging_out_in_one_tab_ends_the_socket_of_the_other(page: Any) -> None:
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
