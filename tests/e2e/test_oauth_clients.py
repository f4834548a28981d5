"""The OAuth routes over HTTP with independent clients: Authlib, oauth4webapi in Node and a browser; and sockets."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import socketio
from authlib.integrations.httpx_client import AsyncOAuth2Client
from fastapi.responses import PlainTextResponse
from support.browser import chromium
from support.live import Raw, new_server, serve
from support.missing import missing
from support.oauth import PASSWORD, SECRET, Desk, Form, query_of

from roomkey import Verifier
from roomkey.socketio import AsyncGuard

JS = Path(__file__).parents[1] / "js"
ARTIFACTS = Path(__file__).parents[1] / "artifacts"
METADATA = "/.well-known/oauth-authorization-server"
VERIFIER = "a-verifier-of-this-test-0123456789-0123456789"


@asynccontextmanager
async def served() -> AsyncIterator[Desk]:
    """A login server and a guarded Socket.IO server in one, at an address that clients reach.

    A client's own address is on ``localhost``, which is another origin for a browser.
    """
    parts: dict[str, Any] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await parts["app"](scope, receive, send)

    def make_authority(verifier: Verifier) -> AsyncGuard:
        guard = AsyncGuard(verifier)
        parts["sio"] = new_server()
        guard.attach(parts["sio"])
        return guard

    async with serve(app) as address:
        back = f"http://localhost:{address.rpartition(':')[2]}/back"
        opened = Desk.opened(url=f"http://{address}", start=time.time(), make_authority=make_authority, back=back)
        async with opened as desk:
            parts["app"] = socketio.ASGIApp(parts["sio"], desk.app)
            desk.app.get("/back")(lambda: PlainTextResponse("welcome back"))
            desk.http = httpx.AsyncClient(base_url=f"http://{address}")
            yield desk


async def let_in(url: str, **typed: str) -> str:
    """Do what a user does in a browser, and return the address of the redirect."""
    async with httpx.AsyncClient() as browser:
        page = await browser.get(url)
        form = Form(page.text)
        filled = form.fields | {"username": "ada", "password": PASSWORD, "decision": "allow"} | typed
        answer = await browser.post(page.url.join(form.action), data=filled)
        assert answer.status_code == 303, answer.text
        return answer.headers["location"]


async def test_authlib_works_as_a_public_client():
    async with served() as desk:
        told = (await desk.http.get(METADATA)).json()
        async with AsyncOAuth2Client(
            "page",
            redirect_uri=desk.back,
            scope="chat",
            code_challenge_method="S256",
            token_endpoint_auth_method="none",
            token_endpoint=told["token_endpoint"],
            revocation_endpoint_auth_method="none",
        ) as client:
            url, state = client.create_authorization_url(told["authorization_endpoint"], code_verifier=VERIFIER)
            answer = await let_in(url)
            assert query_of(answer)["iss"] == told["issuer"]
            first = await client.fetch_token(authorization_response=answer, code_verifier=VERIFIER, state=state)
            assert first["scope"] == "chat"
            second = await client.refresh_token(told["token_endpoint"])
            assert second["refresh_token"] != first["refresh_token"]
            answer = await client.revoke_token(told["revocation_endpoint"], second["refresh_token"])
            assert answer.status_code == 200
        assert (await desk.introspect(second["access_token"])) == {"active": False}


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
async def test_authlib_works_as_a_service_and_a_confidential_client(method):
    async with served() as desk:
        told = (await desk.http.get(METADATA)).json()
        assert method in told["token_endpoint_auth_methods_supported"]
        async with AsyncOAuth2Client(
            "backend", SECRET, redirect_uri=desk.back, code_challenge_method="S256", token_endpoint_auth_method=method
        ) as client:
            token = await client.fetch_token(told["token_endpoint"], grant_type="client_credentials", scope="jobs")
            assert token["scope"] == "jobs"
            assert "refresh_token" not in token
            answer = await client.introspect_token(told["introspection_endpoint"], token["access_token"])
            assert (answer.json()["active"], answer.json()["sub"]) == (True, "backend")
            await client.revoke_token(told["revocation_endpoint"], token["access_token"])
            answer = await client.introspect_token(told["introspection_endpoint"], token["access_token"])
            assert answer.json() == {"active": False}

            url, _ = client.create_authorization_url(told["authorization_endpoint"], code_verifier=VERIFIER)
            token = await client.fetch_token(
                told["token_endpoint"], authorization_response=await let_in(url), code_verifier=VERIFIER
            )
            assert (await desk.authority.verify(token["access_token"])).subject == "ada"


async def test_oauth4webapi_works_in_node(js_modules):
    if not (js_modules / "oauth4webapi").is_dir():
        missing("oauth4webapi is not installed: npm ci --prefix tests/js")
    async with served() as desk:
        pipes = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE}
        command = ("node", str(JS / "oauth.js"), str(desk.http.base_url).rstrip("/"), desk.back, SECRET)
        node = await asyncio.create_subprocess_exec(*command, **pipes)
        assert node.stdin is not None
        assert node.stdout is not None
        url = json.loads(await asyncio.wait_for(node.stdout.readline(), 15))["authorize"]
        node.stdin.write((await let_in(url)).encode() + b"\n")
        done = json.loads(await asyncio.wait_for(node.stdout.readline(), 15))["done"]
        assert await node.wait() == 0
    assert done["first"]["scope"] == done["second"]["scope"] == "chat"
    assert done["first"]["refresh_token"] != done["second"]["refresh_token"]
    assert [service["scope"] for service in done["services"]] == ["jobs", "jobs"]
    assert (done["before"]["active"], done["before"]["sub"]) == (True, "ada")
    assert done["after"] == {"active": False}
    assert done["refused"] == {
        "name": "WWWAuthenticateChallengeError",
        "code": "OAUTH_WWW_AUTHENTICATE_CHALLENGE",
        "schemes": ["basic"],
    }


async def socket_of(desk: Desk, token: str) -> Raw:
    raw = await Raw.open(urlsplit(str(desk.http.base_url)).netloc)
    assert (await raw.ask({"token": token})).startswith("40")
    return raw


@pytest.mark.checklist("G98")
async def test_replayed_refresh_token_disconnects_only_its_own_login():
    async with served() as desk:
        first, other = await desk.logged_in(), await desk.logged_in()
        second = (await desk.refresh(first["refresh_token"])).json()
        await desk.refresh(second["refresh_token"])
        mine = [await socket_of(desk, given["access_token"]) for given in (first, second)]
        others = await socket_of(desk, other["access_token"])
        assert (await desk.refresh(first["refresh_token"])).status_code == 400
        for raw in mine:
            assert await raw.is_closed()
        assert not await others.is_closed(within=0.2)
        await others.close()


async def test_rfc7009_revoking_a_token_disconnects_its_sockets():
    async with served() as desk:
        for which in ("access_token", "refresh_token"):
            given = await desk.logged_in()
            raw = await socket_of(desk, given["access_token"])
            assert (await desk.post("revoke", client_id="page", token=given[which])).status_code == 200
            assert await raw.is_closed()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_browser_without_javascript_can_authorize(scheme):
    executable = chromium()
    from playwright.async_api import async_playwright

    said: list[str] = []
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    async with served() as desk, async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=flags)
        page = await browser.new_page(
            java_script_enabled=False, color_scheme=scheme, viewport={"width": 800, "height": 700}
        )
        page.on("console", lambda message: said.append(message.text))
        await page.goto(str((await desk.show()).url))
        await page.screenshot(path=ARTIFACTS / f"authorize-{scheme}.png")
        await page.get_by_label("Username").fill("ada")
        await page.get_by_label("Password").fill("wrong")
        await page.get_by_role("button", name="Log in and allow").click()
        await page.get_by_role("alert").wait_for()
        await page.screenshot(path=ARTIFACTS / f"authorize-wrong-{scheme}.png")
        assert await page.get_by_label("Username").input_value() == "ada"
        await page.get_by_label("Password").fill(PASSWORD)
        await page.keyboard.press("Enter")
        await page.wait_for_url(f"{desk.back}?*")
        assert await page.text_content("body") == "welcome back"
        told = query_of(page.url)
        assert (await desk.redeem(told["code"])).status_code == 200

        await page.goto(str((await desk.show()).url))
        await page.get_by_role("button", name="Cancel").click()
        await page.wait_for_url(f"{desk.back}?*")
        assert query_of(page.url)["error"] == "access_denied"

        await page.goto(str((await desk.show(client_id="nobody")).url))
        await page.screenshot(path=ARTIFACTS / f"authorize-error-{scheme}.png")
        await browser.close()
    forbidden = [text for text in said if not text.startswith("Failed to load resource: the server responded")]
    assert forbidden == [], "the browser says here what the content security policy forbids"
