"""The page of ``roomkey serve --demo`` in a real browser: what a person sees and does, with screenshots kept.

It is the same page whatever speaks Socket.IO, so that one test of it runs on python-socketio, too. Every test fails on
an error in the browser's console, an exception in the page, or a request to another host.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from support.browser import launched
from support.product import ProductThread

from roomkey import Policy
from roomkey.policies import rooms_claim
from roomkey.server.settings import Settings

ARTIFACTS = Path(__file__).parents[1] / "artifacts"
NOT_RENEWED = ("status of 400", "status of 401")
DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched() as running:
        yield running


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
        page.set_default_timeout(30_000)

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
    page.get_by_label("Password", exact=True).fill(served.passwords()[username] if password is None else password)
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


def remains(page: Any, *, at_most: int = 1000, at_least: int = 0) -> None:
    """Wait until the token's remaining seconds are within these bounds, as a busy browser may skip a second."""
    page.wait_for_function(
        """([least, most]) => {
            const [, minutes, seconds] = document.querySelector("[data-testid='remaining']").textContent
                .match(/(\\d+) min (\\d+) s/) ?? [];
            const left = 60 * minutes + 1 * seconds;
            return least <= left && left <= most;
        }""",
        arg=[at_least, at_most],
    )


def room(page: Any, name: str) -> Any:
    return page.get_by_test_id(f"room-{name}")


def join(page: Any, name: str) -> None:
    room(page, name).get_by_role("button", name=f"Join {name}").click()
    room(page, name).get_by_role("button", name=f"Leave {name}").wait_for()


def say(page: Any, text: str) -> None:
    page.get_by_test_id("chat-text").fill(text)
    page.get_by_test_id("chat-send").click()
    sees(page, "messages", text)


def refuse_renewals(page: Any) -> None:
    """Refuse renewals as after the end of the login session, so that the page asks for the password."""
    answer = {"error": "invalid_grant", "error_description": "Log in again."}
    page.route("**/auth/refresh", lambda route: route.fulfill(status=401, json=answer))


def stay(page: Any, password: str) -> None:
    page.get_by_label("Password again").fill(password)
    page.get_by_test_id("stay-submit").click()


def connections(page: Any) -> int:
    """Return how often the page has connected since it was loaded."""
    return page.get_by_test_id("log").inner_text().count("→\nCONNECT")


def keep(page: Any, name: str) -> None:
    ARTIFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTIFACTS / f"{name}.png", full_page=True)


# As a process of its own


@pytest.mark.parametrize(
    ("engine", "way"), [("hub", "handshake"), ("python-socketio", "authenticate")], indirect=["engine"], scope="session"
)
def test_user_can_log_in_connect_join_and_be_denied(open_page: Any, demo_server: Any, way: str) -> None:
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


# In this process


@pytest.fixture(scope="session")
def engine(request: pytest.FixtureRequest) -> str:
    return str(getattr(request, "param", "hub"))


@pytest.fixture
def product(engine: Any) -> Iterator[Callable[..., ProductThread]]:
    """``product(token_lifetime=…)``: a server in this process, whose guard the test can call."""
    with ExitStack() as stack:

        def start(policy: Policy | None = None, **settings: Any) -> ProductThread:
            settings_of = Settings(engine=engine, **settings)
            return stack.enter_context(ProductThread.running(settings_of, policy=policy))

        yield start


@pytest.fixture(scope="module")
def usual(engine: Any) -> Iterator[ProductThread]:
    """Return one server for all tests that do not change it."""
    with ProductThread.running(Settings(engine=engine)) as served:
        yield served


def test_wrong_password_is_shown(open_page: Any, usual: Any) -> None:
    page = open_page(usual.url)
    keep(page, "page-start")
    assert page.get_by_test_id("connect").is_disabled()
    log_in(page, usual, "grace", "wrong password")
    sees(page, "login-problem", "The username or the password is wrong.")
    keep(page, "page-wrong-password")


def test_two_users_talk_inside_the_room_only(open_page: Any, usual: Any) -> None:
    grace, ada, linus = (open_page(usual.url) for _ in range(3))
    for page, name, way in ((grace, "grace", "handshake"), (ada, "ada", "authenticate"), (linus, "linus", "handshake")):
        log_in(page, usual, name)
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
    room(grace, "green").get_by_role("button", name="Join green").click()
    sees(grace, "room-green", "Your token does not open this room.")
    assert "who is there?" not in linus.get_by_test_id("messages").inner_text()
    keep(grace, "page-chat")  # docs/images/page.png

    room(grace, "blue").get_by_role("button", name="Leave blue").click()
    room(grace, "blue").get_by_role("button", name="Join blue").wait_for()
    ada.get_by_test_id("chat-text").fill("gone already?")
    ada.get_by_test_id("chat-send").click()
    sees(ada, "messages", "gone already?")
    assert "gone already?" not in grace.get_by_test_id("messages").inner_text()


def test_admin_can_join_a_room_by_name(open_page: Any, usual: Any) -> None:
    page = open_page(usual.url)
    log_in(page, usual, "ada")
    sees(page, "roles", "admin")
    connect(page, "handshake", "ada")
    page.get_by_label("Another room").fill("attic")
    page.get_by_test_id("room-join").click()
    room(page, "attic").get_by_role("button", name="Leave attic").wait_for()
    page.get_by_test_id("logout").click()
    page.get_by_label("Password", exact=True).wait_for()
    sees(page, "status", "not connected")


def test_page_fits_a_phone_in_dark_mode(open_page: Any, usual: Any) -> None:
    page = open_page(usual.url, viewport=PHONE, color_scheme="dark", device_scale_factor=2)
    log_in(page, usual, "grace")
    connect(page, "handshake", "grace")
    room(page, "green").get_by_role("button", name="Join green").click()
    sees(page, "room-green", "Refused")
    room(page, "red").get_by_role("button", name="Join red").click()
    room(page, "red").get_by_role("button", name="Leave red").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing sticks out"
    keep(page, "page-phone-dark")


@pytest.mark.checklist("B32")
def test_expired_token_disconnects_and_asks_to_log_in(open_page: Any, product: Any) -> None:
    served = product(token_lifetime=6, grace=0)
    page = open_page(served.url, expected=NOT_RENEWED)
    refuse_renewals(page)
    log_in(page, served, "linus")
    connect(page, "authenticate", "linus")
    sees(page, "notice", "Your token has expired. Log in again.")
    assert '"token_expired"' in page.get_by_test_id("log").inner_text()
    assert page.get_by_label("Password", exact=True).is_visible()
    assert page.get_by_test_id("connect").is_disabled()
    keep(page, "page-expired")
    log_in(page, served, "linus")
    connect(page, "handshake", "linus")


def test_restarted_demo_rejects_its_old_tokens(open_page: Any, product: Any) -> None:
    served = product()
    page = open_page(served.url, expected=("ERR_CONNECTION_REFUSED", "status of 400"))
    log_in(page, served, "linus")
    connect(page, "handshake", "linus")
    served.stop()
    sees(page, "status", "trying again")
    served.start()
    sees(page, "notice", "The server does not accept the signature of this token. Log in again.")
    log_in(page, served, "linus")
    connect(page, "handshake", "linus")
    served.stop()
    sees(page, "status", "trying again")
    page.get_by_test_id("disconnect").click()
    sees(page, "status", "not connected")


# Tokens on a connected socket


def test_token_is_renewed_automatically_and_the_chat_continues(open_page: Any, product: Any) -> None:
    served = product(token_lifetime=8)
    page = open_page(served.url)
    log_in(page, served, "grace")
    connect(page, "handshake", "grace")
    join(page, "red")
    first = served.token_id("grace")
    for renewal in (1, 2):
        page.wait_for_function(
            "n => document.getElementById('log').innerText.split('authenticated').length > n", arg=renewal
        )
        say(page, "still here")
    assert served.token_id("grace") != first
    assert not page.get_by_test_id("stay").is_visible()
    assert connections(page) == 1
    with page.expect_response("**/auth/logout") as answered:
        page.get_by_test_id("logout").click()
    assert answered.value.status == 200


def test_user_can_stay_after_a_warning_and_the_chat_continues(open_page: Any, product: Any) -> None:
    served = product(token_lifetime=12)
    page = open_page(served.url, expected=NOT_RENEWED)
    refuse_renewals(page)
    log_in(page, served, "grace")
    connect(page, "handshake", "grace")
    join(page, "red")
    say(page, "before")
    assert not page.get_by_test_id("stay").is_visible()
    sees(page, "stay-text", "Your token expires in ")
    assert page.get_by_test_id("stay").is_visible()
    assert page.get_by_test_id("stay-text").get_attribute("role") == "alert"
    keep(page, "page-expiring")
    stay(page, "wrong password")
    sees(page, "stay-problem", "The username or the password is wrong.")
    first = served.token_id("grace")

    stay(page, served.passwords()["grace"])
    page.get_by_test_id("stay").wait_for(state="hidden")
    assert served.token_id("grace") != first
    assert page.evaluate("document.getElementById('remaining-bar').value") > 0.7, "the countdown starts anew"
    sees(page, "status", "connected as grace")
    say(page, "after")
    assert room(page, "red").get_by_role("button", name="Leave red").is_visible()
    assert connections(page) == 1
    assert page.get_by_label("Password again").input_value() == ""
    assert "eyJ" not in page.content()


def test_user_can_stay_at_any_time_also_without_a_connection(open_page: Any, product: Any) -> None:
    served = product()
    page = open_page(served.url)
    log_in(page, served, "grace")
    connect(page, "handshake", "grace")
    first = served.token_id("grace")
    page.get_by_test_id("stay-open").click()
    stay(page, "wrong password")
    sees(page, "stay-problem", "wrong")
    page.get_by_test_id("stay-later").click()
    assert not page.get_by_test_id("stay").is_visible()
    remains(page, at_most=896)  # a token of the same second ends no later
    page.get_by_test_id("stay-open").click()
    assert page.get_by_label("Password again").evaluate("box => box === document.activeElement")
    stay(page, served.passwords()["grace"])
    remains(page, at_least=897)
    second = served.token_id("grace")
    assert second != first

    page.get_by_test_id("disconnect").click()
    remains(page, at_most=896)
    page.get_by_test_id("stay-open").click()
    stay(page, served.passwords()["grace"])
    remains(page, at_least=897)
    connect(page, "handshake", "grace")
    assert served.token_id("grace") not in (first, second)


def test_token_that_expires_earlier_is_rejected_and_the_socket_stays(open_page: Any, product: Any) -> None:
    served = product()
    page = open_page(served.url)
    log_in(page, served, "grace")
    connect(page, "handshake", "grace")
    join(page, "red")
    shorter = served.product.issuer.issue("grace", rooms=["red"], expires_in=600)
    page.route(
        "**/auth/login",
        lambda route: route.fulfill(json={"access_token": shorter, "token_type": "Bearer", "expires_in": 600}),
    )
    page.get_by_test_id("stay-open").click()
    stay(page, "whatever")
    sees(page, "stay-problem", "You are still connected.")
    say(page, "still here")
    assert connections(page) == 1


def test_revoked_page_does_not_reconnect(open_page: Any, product: Any) -> None:
    served = product()
    page = open_page(served.url)
    log_in(page, served, "grace")
    connect(page, "handshake", "grace")
    join(page, "red")
    page.get_by_test_id("stay-open").click()
    page.get_by_label("Password again").fill("half typed")
    assert served.call(served.guard.revoke(token_id=served.token_id("grace"))) == 1
    sees(page, "notice", "Your access was revoked. Log in again.")
    sees(page, "status", "access revoked")
    assert page.get_by_test_id("notice").get_attribute("role") == "alert"
    assert page.get_by_label("Username").input_value() == "grace"
    assert page.get_by_label("Password", exact=True).evaluate("box => box === document.activeElement")
    assert not page.get_by_test_id("stay").is_visible()
    assert page.get_by_test_id("connect").is_disabled()
    keep(page, "page-revoked")
    page.get_by_label("Password", exact=True).fill(served.passwords()["grace"])
    page.get_by_test_id("login").click()
    connect(page, "authenticate", "grace")
    assert connections(page) == 2, "it has not tried by itself"
    assert page.get_by_label("Password again").input_value() == ""


def test_logout_everywhere_disconnects_the_other_page(open_page: Any, usual: Any) -> None:
    page, other = open_page(usual.url), open_page(usual.url)
    for each in (page, other):
        log_in(each, usual, "grace")
        connect(each, "handshake", "grace")
        join(each, "red")
    page.get_by_test_id("logout-all").click()
    sees(page, "status", "not connected")
    sees(other, "status", "access revoked")
    sees(other, "notice", "Your access was revoked. Log in again.")
    keep(other, "page-logged-out-everywhere")


@pytest.mark.parametrize("ending", ["logout", "revocation"])
def test_next_user_does_not_see_the_chat_of_the_one_before(open_page: Any, product: Any, ending: str) -> None:
    served = product()
    page = open_page(served.url)
    log_in(page, served, "ada")
    connect(page, "handshake", "ada")
    page.get_by_label("Another room").fill("attic")
    page.get_by_test_id("room-join").click()
    room(page, "attic").get_by_role("button", name="Leave attic").wait_for()
    say(page, "a secret")
    if ending == "logout":
        page.get_by_test_id("logout").click()
        page.get_by_label("Password", exact=True).wait_for()
        assert "secret" not in page.content()
    else:
        served.call(served.guard.revoke(subject="ada"))
        sees(page, "status", "access revoked")
        sees(page, "messages", "a secret")  # the same user can log in again and go on
    log_in(page, served, "grace")
    sees(page, "subject", "grace")
    for text in ("secret", "attic"):
        assert text not in page.content()
    sees(page, "log", "logged in as grace")


def test_changed_rights_remove_rooms(open_page: Any, product: Any) -> None:
    served = product()
    page, other = open_page(served.url), open_page(served.url)
    for each, name in ((page, "grace"), (other, "ada")):
        log_in(each, served, name)
        connect(each, "handshake", name)
        join(each, "blue")
    join(page, "red")
    join(other, "red")
    assert served.call(served.guard.update("grace", rooms=["blue"])) == 1
    sees(page, "notice", "Your rights have changed. You are no longer in: red.")
    sees(page, "room-red", "You are no longer in this room")
    assert room(page, "red").get_by_role("button", name="Join red").is_enabled()
    assert page.locator("#chat-room option").all_inner_texts() == ["blue"]
    keep(page, "page-permissions-changed")
    say(other, "only for red")
    other.get_by_test_id("chat-room").select_option("blue")
    say(other, "for blue")
    sees(page, "messages", "for blue")
    assert "only for red" not in page.get_by_test_id("messages").inner_text()
    room(page, "red").get_by_role("button", name="Join red").click()
    sees(page, "room-red", "Refused")


def test_action_that_requires_a_recent_login_asks_for_it(open_page: Any, product: Any) -> None:
    policy = Policy()
    policy.room("*")(rooms_claim)
    policy.event("message", max_auth_age=6)(lambda who: True)
    served = product(policy)
    page = open_page(served.url)
    log_in(page, served, "grace")
    connect(page, "handshake", "grace")
    join(page, "red")
    remains(page, at_most=892)
    page.get_by_test_id("chat-text").fill("too late")
    page.get_by_test_id("chat-send").click()
    sees(page, "stay-text", "“message” requires a recent login.")
    sees(page, "notice", "authenticate again")
    stay(page, served.passwords()["grace"])
    page.get_by_test_id("stay").wait_for(state="hidden")
    say(page, "in time")
    assert "too late" not in page.get_by_test_id("messages").inner_text()
    assert not page.get_by_test_id("notice").is_visible()


def test_warning_fits_a_phone_in_dark_mode(open_page: Any, product: Any) -> None:
    served = product(token_lifetime=12)
    page = open_page(served.url, expected=NOT_RENEWED, viewport=PHONE, color_scheme="dark", device_scale_factor=2)
    refuse_renewals(page)
    log_in(page, served, "linus")
    connect(page, "authenticate", "linus")
    join(page, "red")
    page.get_by_test_id("chat-text").scroll_into_view_if_needed()
    sees(page, "stay-text", "Your token expires in ")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing sticks out"
    top = page.get_by_test_id("stay").bounding_box()["y"]
    assert 0 <= top < PHONE["height"] / 2, "it is seen from wherever one reads"
    page.screenshot(path=ARTIFACTS / "page-expiring-phone-dark.png")
    stay(page, served.passwords()["linus"])
    page.get_by_test_id("stay").wait_for(state="hidden")
    say(page, "still here")
    assert connections(page) == 1


# What other pages of the same server do


@pytest.mark.parametrize("transport", ["polling", "websocket"])
def test_ticket_connects_the_page_over_every_transport(open_page: Any, usual: Any, transport: str) -> None:
    """Browsers send no ``Origin`` header with a GET to the page's own server, which is how polling begins."""
    page = open_page(usual.url)
    told = page.evaluate(
        """async ([password, transport]) => {
            const post = async (path, body, headers = {}) => (await fetch(`/auth/${path}`, { method: "POST",
                headers: { "Content-Type": "application/json", ...headers }, body: JSON.stringify(body) })).json();
            const token = (await post("login", { username: "ada", password })).access_token;
            const ticket = async () => (await post("ticket", {}, { Authorization: `Bearer ${token}` })).ticket;
            const socket = io({ transports: [transport], auth: { token: await ticket() }, forceNew: true });
            const first = await new Promise((done) => {
                socket.on("connect", () => done("connected"));
                socket.on("connect_error", (error) => done(error.message));
            });
            socket.close();
            return first;
        }""",
        [usual.passwords()["ada"], transport],
    )
    assert told == "connected"
