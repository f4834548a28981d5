"""The commands and the application in docs/oauth.md work; they share a folder."""

from __future__ import annotations

import re
import shlex
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.login_server import PASSWORD
from typer.testing import CliRunner

from roomkey import KeySet, Verifier
from roomkey.cli.app import app as roomkey
from roomkey.server.config_file import read_config
from roomkey.server.provider_logins import login_providers
from roomkey.server.providers import load_providers
from roomkey.server.settings_sources import load_settings

PAGE = (Path(__file__).parents[2] / "docs" / "oauth.md").read_text()
COMMANDS = re.findall(r"^    roomkey ((?:user|client) add .*)$", PAGE, re.MULTILINE)
ADDRESS = "http://localhost:8000"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def mounted() -> dict[str, Any]:
    """Start the application of the page and return its names."""
    names: dict[str, Any] = {"__name__": "page"}
    for block in blocks("python"):
        exec(compile(block, "oauth.md", "exec"), names)
    return names


def client_of(names: dict[str, Any]) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(names["app"]), base_url=ADDRESS)


async def token_of(http: httpx.AsyncClient, name: str, secret: str) -> str:
    answer = await http.post("/oauth/token", auth=(name, secret), data={"grant_type": "client_credentials"})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["access_token"])


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings, _ = blocks("toml")
    (tmp_path / "roomkey.toml").write_text(settings)


@pytest.fixture
def said(here: None) -> dict[str, str]:
    """Run the page's commands; return what each prints, by the name that it adds."""
    said = {}
    for command in COMMANDS:
        words = shlex.split(command, comments=True)
        typed = {"args": [*words, "--password-stdin"], "input": PASSWORD} if words[0] == "user" else {"args": words}
        done = CliRunner().invoke(roomkey, **typed)
        assert done.exit_code == 0, done.output
        said[words[2]] = done.stdout.strip()
    return said


async def test_commands_add_users_and_clients_of_the_application(said: dict[str, str]) -> None:
    assert load_settings().issuer == ADDRESS, "whose tokens the commands are about"
    assert [name for name, words in said.items() if len(words) == 43] == ["app", "reports"], "who gets a secret"
    names = mounted()
    async with client_of(names) as http:
        assert names["verifier"].verify(await token_of(http, "reports", said["reports"]), time.time()).rooms == (
            "reports",
        )
        for name, uri in (("app", "https://app.example/back"), ("page", "https://page.example/back")):
            asked = {"response_type": "code", "client_id": name, "redirect_uri": uri, "code_challenge": "x" * 43}
            shown = await http.get("/oauth/authorize", params=asked | {"code_challenge_method": "S256"})
            assert shown.status_code == 200
            assert "Example" in shown.text, "the server's name"
    assert await names["logins"].accounts.find("ada") is not None
    await names["stores"].close()


async def test_tokens_are_verified_elsewhere_and_survive_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPORTS_SECRET", "kT9vX2mQ8rL4wZ7yB1nC6dF3gH5jP0sA")
    before = mounted()
    await before["add_reports"]()
    async with client_of(before) as http:
        token = await token_of(http, "reports", "kT9vX2mQ8rL4wZ7yB1nC6dF3gH5jP0sA")
        metadata = (await http.get("/.well-known/oauth-authorization-server")).json()
    await before["stores"].close()

    after = mounted()
    async with client_of(after) as http:
        published = (await http.get(metadata["jwks_uri"])).json()
    keys = KeySet.from_jwks(published)
    elsewhere = Verifier(keys, algorithms=["ES256"], issuer=ADDRESS, audience="chat", token_type="at+jwt")
    assert elsewhere.verify(token, time.time()).subject == "reports"
    await after["stores"].close()


def test_table_of_a_provider_lets_users_log_in(tmp_path: Path) -> None:
    _, table = blocks("toml")
    (tmp_path / "roomkey.toml").write_text(table)
    (tmp_path / "sso.secret").write_text("s3cret\n")
    (tmp_path / "sso.secret").chmod(0o600)
    assert load_settings().public_url == "https://chat.example"
    [provider] = login_providers(load_providers(read_config()))
    assert (provider.name, provider.shown_title, provider.client_secret) == ("sso", "Example SSO", "s3cret")


def test_commands_link_users_of_a_provider(tmp_path: Path, said: dict[str, str]) -> None:
    (tmp_path / "roomkey.toml").write_text(blocks("toml")[1])
    commands = re.findall(r"^ {6}roomkey (user .*)$", PAGE, re.MULTILINE)
    assert [shlex.split(command)[1] for command in commands] == ["link", "links", "unlink", "add"]
    for command in commands:
        done = CliRunner().invoke(roomkey, shlex.split(command, comments=True))
        assert done.exit_code == 0, done.output


async def test_logins_at_a_provider_can_be_mounted() -> None:
    names = mounted()
    async with client_of(names) as http:
        [sso] = (await http.get("/auth/providers")).json()["providers"]
    assert sso == {"name": "sso", "title": "Example SSO", "login": "/auth/providers/sso/login"}
    await names["stores"].close()
