"""The page of ``roomkey serve --demo`` in a real browser: what a person sees and does, with screenshots kept.

Every test fails on an error in the browser's console, an exception in the page, or a request to another host.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ARTIFACTS = Path(__file__).parents[1] / "artifacts"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip
DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}


def missing(what: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        missing("no browser: apt-get install chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("no playwright: pip install playwright")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield launched
        launched.close()


@pytest.fixture
def open_page(browser: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Opens the page of a server in a browser of its own, and afterwards looks at what went wrong in it.

    The browser itself writes an error for every answer 400, which a refused login is meant to be.
    """
    contexts: list[Any] = []
    problems: list[str] = []

    def start(url: str, *, expected: tuple[str, ...] = ("status of 400",), **settings: Any) -> Any:
        context = browser.new_context(**({"viewport": DESKTOP} | settings))
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)

        def console(said: Any) -> None:
            if said.type == "error" and not any(text in said.text for text in expected):
                problems.append(said.text)

        page.on("console", console)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "request",
            lambda asked: asked.url.startswith((url, url.replace("http", "ws"))) or problems.append(asked.url),
        )
        page.goto(url)
        return page

    yield start
    for context in contexts:
        context.close()
    assert problems == []


def log_in(page: Any, served: Any, username: str, password: str | None = None) -> None:
    page.get_by_label("Username").fill(username)
    page.get_by_label("Password").fill(served.passwords()[username] if password is None else password)
    page.get_by_test_id("login").click()


def connect(page: Any, way: str, username: str) -> None:
    page.get_by_test_id(f"via-{way}").check()
    page.get_by_test_id("connect").click()
    sees(page, "status", f"connected as {username}")


def sees(page: Any, test_id: str, text: str) -> None:
    page.wait_for_function(
        "([id, text]) => document.querySelector(`[data-testid='${id}']`).textContent.includes(text)",
        arg=[test_id, text],
    )


def room(page: Any, name: str) -> Any:
    return page.get_by_test_id(f"room-{name}")


def keep(page: Any, name: str) -> None:
    ARTIFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTIFACTS / f"{name}.png", full_page=True)


def test_a_wrong_password_is_told(open_page: Any, demo_server: Any) -> None:
    page = open_page(demo_server.url)
    keep(page, "page-start")
    assert page.get_by_test_id("connect").is_disabled()
    log_in(page, demo_server, "grace", "wrong password")
    sees(page, "login-problem", "The username or the password is wrong.")
    keep(page, "page-wrong-password")


@pytest.mark.parametrize("way", ["handshake", "authenticate"])
def test_log_in_connect_enter_and_be_refused(open_page: Any, demo_server: Any, way: str) -> None:
    page = open_page(demo_server.url)
    log_in(page, demo_server, "grace")
    sees(page, "subject", "grace")
    assert page.locator("#token-rooms .chip").all_inner_texts() == ["red", "blue"]
    sees(page, "remaining", "14 min 5")

    connect(page, way, "grace")
    log = page.get_by_test_id("log")
    assert ("authenticate {" in log.inner_text()) == (way == "authenticate")

    room(page, "red").get_by_role("button", name="Join red").click()
    room(page, "red").get_by_role("button", name="Leave red").wait_for()
    room(page, "green").get_by_role("button", name="Join green").click()
    sees(page, "room-green", "Refused: Insufficient permissions")
    assert '"permission_denied"' in log.inner_text()

    page.get_by_test_id("chat-text").fill("<b>hello</b>")
    page.get_by_test_id("chat-send").click()
    sees(page, "messages", "<b>hello</b>")
    assert page.locator("#messages b").all_inner_texts() == ["grace"], "text stays text"
    keep(page, f"page-{way}")

    assert "eyJ" not in page.content(), "the token is nowhere in the page"
    assert page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]") == [0, 0, ""]
    page.get_by_test_id("disconnect").click()
    sees(page, "status", "not connected")
    assert room(page, "red").get_by_role("button", name="Join red").is_disabled()


def test_two_people_talk_and_only_inside_the_room(open_page: Any, demo_server: Any) -> None:
    grace, ada, linus = (open_page(demo_server.url) for _ in range(3))
    for page, name, way in ((grace, "grace", "handshake"), (ada, "ada", "authenticate"), (linus, "linus", "handshake")):
        log_in(page, demo_server, name)
        connect(page, way, name)
    for page in (grace, ada):
        room(page, "blue").get_by_role("button", name="Join blue").click()
        room(page, "blue").get_by_role("button", name="Leave blue").wait_for()
    room(linus, "red").get_by_role("button", name="Join red").click()
    room(linus, "red").get_by_role("button", name="Leave red").wait_for()

    ada.get_by_test_id("chat-text").fill("who is there?")
    ada.get_by_test_id("chat-text").press("Enter")
    sees(grace, "messages", "who is there?")
    grace.get_by_test_id("chat-text").fill("me")
    grace.get_by_test_id("chat-send").click()
    sees(ada, "messages", "me")
    assert "who is there?" not in linus.get_by_test_id("messages").inner_text()
    keep(grace, "page-chat")

    room(grace, "blue").get_by_role("button", name="Leave blue").click()
    room(grace, "blue").get_by_role("button", name="Join blue").wait_for()
    ada.get_by_test_id("chat-text").fill("gone already?")
    ada.get_by_test_id("chat-send").click()
    sees(ada, "messages", "gone already?")
    assert "gone already?" not in grace.get_by_test_id("messages").inner_text()


def test_an_admin_enters_a_room_by_name(open_page: Any, demo_server: Any) -> None:
    page = open_page(demo_server.url)
    log_in(page, demo_server, "ada")
    sees(page, "roles", "admin")
    connect(page, "handshake", "ada")
    page.get_by_label("Another room").fill("attic")
    page.get_by_test_id("room-join").click()
    room(page, "attic").get_by_role("button", name="Leave attic").wait_for()
    page.get_by_test_id("logout").click()
    page.get_by_label("Password").wait_for()
    sees(page, "status", "not connected")


def test_a_phone_in_the_dark(open_page: Any, demo_server: Any) -> None:
    page = open_page(demo_server.url, viewport=PHONE, color_scheme="dark", device_scale_factor=2)
    log_in(page, demo_server, "grace")
    connect(page, "handshake", "grace")
    room(page, "green").get_by_role("button", name="Join green").click()
    sees(page, "room-green", "Refused")
    room(page, "red").get_by_role("button", name="Join red").click()
    room(page, "red").get_by_role("button", name="Leave red").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing sticks out"
    keep(page, "page-phone-dark")


@pytest.mark.parametrize("way", ["handshake", "authenticate"])
def test_32_an_expired_token_ends_the_connection_and_asks_to_log_in(open_page: Any, serve: Any, way: str) -> None:
    served = serve("--token-lifetime", "6", "--grace", "0")
    page = open_page(served.url)
    log_in(page, served, "linus")
    connect(page, way, "linus")
    sees(page, "notice", "Your token has expired. Log in again.")
    assert '"token_expired"' in page.get_by_test_id("log").inner_text()
    assert page.get_by_label("Password").is_visible()
    assert page.get_by_test_id("connect").is_disabled()
    keep(page, f"page-expired-{way}")
    log_in(page, served, "linus")
    connect(page, way, "linus")


def test_a_server_that_starts_anew_knows_its_old_tokens_no_more(open_page: Any, serve: Any) -> None:
    served = serve()
    page = open_page(served.url, expected=("ERR_CONNECTION_REFUSED", "status of 400"))
    log_in(page, served, "linus")
    connect(page, "handshake", "linus")
    served.stop(15)
    sees(page, "status", "trying again")
    (served.folder / "credentials.json").unlink()
    again = serve("--port", served.url.rpartition(":")[2])
    sees(page, "notice", "The server does not know who signed this token. Log in again.")
    log_in(page, again, "linus")
    connect(page, "handshake", "linus")
    again.stop(15)
    sees(page, "status", "trying again")
    page.get_by_test_id("disconnect").click()
    sees(page, "status", "not connected")
