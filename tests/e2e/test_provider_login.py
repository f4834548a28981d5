"""Logging in at a real OpenID provider, in a real browser: the page, its socket, and the provider's logout."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.browser import launched
from support.product import ProductThread
from support.provider import CLIENT, CLIENT_SECRET, Provider, provider

from roomkey.server.providers import Provider as Table
from roomkey.server.settings import Settings

__all__ = ["provider"]

ARTIFACTS = Path(__file__).parents[1] / "artifacts"
ROUTES = "/auth/providers/sso"


@pytest.fixture(scope="module", params=["hub", "python-socketio"])
def served(request: pytest.FixtureRequest, provider: Provider, tmp_path_factory: Any) -> Iterator[ProductThread]:
    """Return a server that is registered at the provider."""
    secret = tmp_path_factory.mktemp("secret") / "sso.secret"
    secret.write_text(CLIENT_SECRET + "\n")
    secret.chmod(0o600)
    table = Table(
        issuer=provider.issuer,
        client_id=CLIENT,
        client_secret_file=secret,
        login=True,
        title="Example SSO",
        create_accounts=True,
        rights="claims",
    )
    with ProductThread.running(Settings(engine=request.param), providers={"sso": table}) as running:
        provider.client(
            CLIENT,
            redirect_uris=[f"{running.url}{ROUTES}/callback"],
            backchannel_logout_uri=f"{running.url}{ROUTES}/logout",
        )
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched() as running:
        yield running


@pytest.fixture
def page(browser: Any, served: ProductThread) -> Iterator[Any]:
    """Return the server's page. Its errors fail the test, except those of refused requests."""
    context = browser.new_context()
    opened = context.new_page()
    opened.set_default_timeout(30_000)
    opened.route("https://fonts.googleapis.com/**", lambda route: route.abort())  # the provider's page
    problems: list[str] = []
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.goto(served.url)
    yield opened
    context.close()
    assert problems == []


def sees(page: Any, test_id: str, text: str) -> None:
    page.wait_for_function(
        "([id, text]) => document.querySelector(`[data-testid='${id}']`)?.textContent.includes(text)",
        arg=[test_id, text],
    )


def log_in_at_provider(page: Any, subject: str) -> None:
    page.locator("input[name=login]").fill(subject)
    page.locator("input[name=password]").fill("any")
    page.locator("button[type=submit]").click()
    page.locator("button[type=submit]").click()  # consent


def log_out_at_provider(page: Any, provider: Provider) -> None:
    page.goto(f"{provider.issuer}/session/end?client_id={CLIENT}")
    page.locator("button[value=yes]").click()
    page.get_by_text("Sign-out Success").wait_for()


def test_user_logs_in_at_the_provider_and_its_logout_closes_the_socket(page, served, provider):
    provider.account("grace", roles=["staff"], rooms=["red"], name="Grace Hopper")
    button = page.get_by_test_id("provider-sso")
    assert button.inner_text() == "Log in with Example SSO"
    ARTIFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTIFACTS / "page-provider-button.png")
    button.click()
    log_in_at_provider(page, "grace")
    sees(page, "subject", "sso:grace")
    assert page.url == f"{served.url}/"
    assert page.evaluate("[localStorage.length, sessionStorage.length]") == [0, 0]
    page.get_by_test_id("via-handshake").check()
    page.get_by_test_id("connect").click()
    sees(page, "status", "connected as sso:grace")

    other = page.context.new_page()  # the same person, in another tab
    log_out_at_provider(other, provider)
    sees(page, "status", "access revoked")
    assert provider.logouts()[-1] == "sent"
    assert page.get_by_test_id("provider-sso").is_visible()


def test_login_that_another_tab_began_is_rejected_with_a_page(page, served, provider):
    page.goto(f"{served.url}{ROUTES}/callback?code=x&state=y&iss={provider.issuer}")
    assert page.get_by_role("alert").inner_text() == "The login did not succeed."
    assert "state" not in page.locator("main").inner_text()


def auth_time(page: Any, served: ProductThread) -> int:
    """Connect, and return the claim of the token."""
    page.get_by_test_id("via-handshake").check()
    page.get_by_test_id("connect").click()
    sees(page, "status", "connected as sso:ada")
    [found] = [one.identity for one in served.guard.index if one.identity.subject == "sso:ada"]
    return int(found.claim("auth_time"))


def test_recent_login_is_asked_of_the_provider(page, served, provider):
    page.get_by_test_id("provider-sso").click()
    log_in_at_provider(page, "ada")
    sees(page, "subject", "sso:ada")
    assert auth_time(page, served) == 0, "the provider did not say"
    page.get_by_test_id("disconnect").click()
    before = int(time.time())
    page.goto(f"{served.url}{ROUTES}/login?fresh=1")
    page.locator("input[name=password]").fill("any")
    page.locator("input[name=login]").fill("ada")
    page.locator("button[type=submit]").click()
    sees(page, "subject", "sso:ada")
    assert auth_time(page, served) >= before
