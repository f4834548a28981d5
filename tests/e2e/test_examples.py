"""Every example, run as in its README: its server in a separate process, and a real client."""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from support.browser import chromium
from support.node import NODE_PACKAGE, built_node_package
from support.server_process import PATIENCE, served_url

pytestmark = pytest.mark.asyncio(loop_scope="module")

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = ("handshake", "authenticate", "flask", "node_server", "plain_python_issuer")
SECRET = secrets.token_urlsafe(32)
SECRETS = ("ROOMKEY_SECRET", "SECRET_KEY", "ROOMKEY_PUBLIC_KEY_FILE", "ROOMKEY_PRIVATE_KEY_FILE")
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in SECRETS}
PYTHON = sys.executable

Serve = Callable[..., Awaitable[Any]]


async def run(*command: str | Path, cwd: Path, **environment: str) -> tuple[int, str, str]:
    """Run a command and return its exit code, output and errors."""
    process = await asyncio.create_subprocess_exec(
        *map(str, command), cwd=cwd, env=ENVIRONMENT | environment, stdout=-1, stderr=-1
    )
    out, err = await asyncio.wait_for(process.communicate(), PATIENCE)
    return process.returncode or 0, out.decode().strip(), err.decode().strip()


async def token_of(*command: str | Path, cwd: Path, **environment: str) -> str:
    code, out, err = await run(*command, cwd=cwd, **environment)
    assert code == 0, err
    assert re.fullmatch(r"eyJ[\w-]+\.[\w-]+\.[\w-]+", out)
    return out


@pytest_asyncio.fixture(loop_scope="module")
async def serve() -> AsyncIterator[Serve]:
    """Start an example's server on a free port. It is stopped after the test."""
    processes: list[asyncio.subprocess.Process] = []

    async def start(*command: str | Path, cwd: Path, **environment: str) -> Any:
        process = await asyncio.create_subprocess_exec(
            *map(str, command), cwd=cwd, env=ENVIRONMENT | {"PORT": "0"} | environment, stdout=-1, stderr=-2
        )
        processes.append(process)
        return SimpleNamespace(url=await served_url(process.stdout), path="/socket.io")

    yield start
    for process in processes:
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), 1)
        except TimeoutError:  # uvicorn waits for a poll whose client has gone
            process.kill()
        await process.communicate()


@pytest_asyncio.fixture(loop_scope="module")
async def js(js_process: Any) -> AsyncIterator[Any]:
    """Return the Node process that runs clients. They disconnect before the server stops."""
    yield js_process
    js_process.close_all()


@pytest.fixture
def node_server(js_modules: Path, tmp_path: Path) -> Path:
    """Return a copy of the Node.js example, with our package and the packages of tests/js."""
    folder = tmp_path / "node_server"
    shutil.copytree(EXAMPLES / "node_server", folder, ignore=shutil.ignore_patterns("node_modules"))
    wanted = json.loads((folder / "package.json").read_text())["dependencies"]
    assert (EXAMPLES / "node_server" / wanted.pop("roomkey").removeprefix("file:")).resolve() == built_node_package()
    installed = {name: json.loads((js_modules / name / "package.json").read_text())["version"] for name in wanted}
    assert wanted == installed
    modules = folder / "node_modules"
    modules.mkdir()
    (modules / "roomkey").symlink_to(NODE_PACKAGE)
    for name in wanted:
        (modules / name).symlink_to(js_modules / name)
    return folder


@pytest.mark.parametrize("name", NAMES)
async def test_examples_are_short(name: str) -> None:
    files = [path for path in (EXAMPLES / name).iterdir() if path.is_file() and path.name != "package-lock.json"]
    assert {"README.md"} < {path.name for path in files}
    for path in files:
        assert len(path.read_text().splitlines()) <= 60, path.name


MISSING = {
    "handshake/server.py": "ROOMKEY_SECRET",
    "authenticate/server.py": "ROOMKEY_SECRET",
    "flask/app.py": "ROOMKEY_SECRET",
    "node_server/issue.py": "ROOMKEY_SECRET or ROOMKEY_PRIVATE_KEY_FILE",
    "plain_python_issuer/issuer.py": "SECRET_KEY",
    "plain_python_issuer/server.py": "SECRET_KEY",
}


async def test_python_example_names_a_missing_secret() -> None:
    async def names_it(path: Path, missing: str) -> None:
        code, out, err = await run(PYTHON, path.name, cwd=path.parent)
        assert (code, out) == (1, "")
        assert missing in err
        assert "README.md" in err
        assert "Traceback" not in err

    await asyncio.gather(*(names_it(EXAMPLES / script, missing) for script, missing in MISSING.items()))


async def test_node_example_names_a_missing_secret(node_server: Path) -> None:
    code, _, err = await run("node", "server.js", cwd=node_server)
    assert code == 1
    assert err == "set ROOMKEY_SECRET or ROOMKEY_PUBLIC_KEY_FILE, one of them: see README.md"


# Clients


async def works(js: Any, server: Any, token: str) -> None:
    """Assert that a valid token is admitted to its room only, as the JavaScript client sees it."""
    for transport in ("polling", "websocket"):
        socket = js.open(server, ("current", transport), auth={"token": token})
        reports = [await socket.expect_any(), await socket.expect_any()]  # node_server greets before it answers
        assert {report["what"] for report in reports} == {"connect", "event"}
        assert [report["args"] for report in reports if report["what"] == "event"] == [["ada"]]
        assert (await socket.call("join-room", "red"))[0]["ok"] is True
        assert (await socket.call("join-room", "blue"))[0]["ok"] is False


async def refuses(js: Any, server: Any, token: object, message: str) -> None:
    options = {"auth": {"token": token}} if token is not None else {}
    socket = js.open(server, reconnection=False, **options)
    report = await socket.expect("connect_error", message=message, active=False)
    assert report["data"]["message"] == message
    assert report["data"]["type"] == "UnauthorizedError"


async def test_plain_python_issuer_example_runs(js: Any, serve: Serve) -> None:
    folder = EXAMPLES / "plain_python_issuer"
    token = await token_of(PYTHON, "issuer.py", "ada", "red", cwd=folder, SECRET_KEY=SECRET)
    other = await token_of(PYTHON, "issuer.py", "ada", cwd=folder, SECRET_KEY=secrets.token_urlsafe(32))
    server = await serve(PYTHON, "server.py", cwd=folder, SECRET_KEY=SECRET)
    await works(js, server, token)
    await refuses(js, server, other, "invalid signature")
    await refuses(js, server, None, "no token provided")


async def test_flask_example_runs_from_login_to_logout(js: Any, serve: Serve) -> None:
    server = await serve(PYTHON, "app.py", cwd=EXAMPLES / "flask", ROOMKEY_SECRET=SECRET)
    await refuses(js, server, None, "no token provided")
    async with httpx.AsyncClient(base_url=server.url) as http:
        assert "socket.io.min.js" in (await http.get("/")).text
        assert (await http.post("/login", json={"username": "ada", "password": "wrong"})).status_code == 401
        token = (await http.post("/login", json={"username": "ada", "password": "correct horse"})).json()["token"]
        for transport in ("polling", "websocket", "upgrade"):
            socket = js.open(server, ("current", transport), auth={"token": token})
            await socket.opened(("current", transport))
            assert await socket.call("join", "red") == [{"ok": True}]
            assert (await socket.call("join", "blue"))[0]["error"]["code"] == "permission_denied"
            socket.emit("message", "red", "hello")
            await socket.event("message", {"from": "ada", "text": "hello"})
            socket.close()
            await socket.expect("disconnect")
        socket = js.open(server, auth={"token": token})
        await socket.expect("connect")
        answer = await http.post("/logout", headers={"Authorization": f"Bearer {token}"})
        assert answer.json() == {"disconnected": 1}
        await socket.skip_to("disconnect", reason="io server disconnect")
    await refuses(js, server, token, "jwt revoked")


def key_pair(folder: Path) -> tuple[str, str]:
    """PEM files of a private and a public key, as the README's two openssl commands make them."""
    key = ec.generate_private_key(ec.SECP256R1())
    private, public = folder / "private.pem", folder / "public.pem"
    private.touch(mode=0o600)
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return str(private), str(public)


@pytest.mark.parametrize("kind", ["shared secret", "public key"])
async def test_node_server_example_runs(js: Any, serve: Serve, node_server: Path, tmp_path: Path, kind: str) -> None:
    private, public = key_pair(tmp_path)
    by_secret, by_key = {"ROOMKEY_SECRET": SECRET}, {"ROOMKEY_PRIVATE_KEY_FILE": private}
    mine, others = (by_secret, by_key) if kind == "shared secret" else (by_key, by_secret)
    token = await token_of(PYTHON, "issue.py", "ada", "red", cwd=node_server, **mine)
    other = await token_of(PYTHON, "issue.py", "ada", cwd=node_server, **others)
    known = by_secret if kind == "shared secret" else {"ROOMKEY_PUBLIC_KEY_FILE": public}
    server = await serve("node", "server.js", cwd=node_server, **known)
    await works(js, server, token)
    await refuses(js, server, other, "invalid algorithm")
    head, _, signature = token.rpartition(".")
    await refuses(js, server, f"{head}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}", "invalid signature")
    await refuses(js, server, token[:80], "jwt malformed")
    await refuses(js, server, None, "no token provided")
    await refuses(js, server, 42, "invalid token datatype")

    # A refused client does not keep its connection: the first client tells, since it would come back.
    socket = js.open(server, ("first", "websocket"), auth={"token": "a.b.c"}, reconnection=False)
    await socket.expect("connect_error", message="invalid token")
    await socket.closed_unanswered()


# The pages, in a browser


@pytest.fixture(scope="session")
def example_browser() -> str:
    """Return the path of Chromium."""
    return chromium()


@pytest.mark.parametrize("name", ["handshake", "authenticate"])
async def test_page_example_runs(
    name: str, serve: Serve, js_modules: Path, example_browser: str, tmp_path: Path
) -> None:
    from playwright.async_api import async_playwright, expect

    folder = EXAMPLES / name
    issue = (PYTHON, "-m", "roomkey", "token", "issue", "ada", "--room", "red", "--audience", "chat")
    token, stale, server = await asyncio.gather(
        token_of(*issue, cwd=tmp_path, ROOMKEY_SECRET=SECRET),
        token_of(*issue, "--expires-in", "-60", cwd=tmp_path, ROOMKEY_SECRET=SECRET),
        serve(PYTHON, "server.py", cwd=folder, ROOMKEY_SECRET=SECRET),
    )
    expect.set_options(timeout=PATIENCE * 1000)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=example_browser, args=["--no-sandbox"])
        page = await browser.new_page()
        # The same bytes from the npm package: the page's integrity hash is checked on them.
        await page.route(
            "https://cdn.socket.io/4.8.4/socket.io.min.js",
            lambda route: route.fulfill(
                path=js_modules / "socket.io-client" / "dist" / "socket.io.min.js",
                headers={"access-control-allow-origin": "*", "content-type": "text/javascript"},
            ),
        )
        await page.goto(server.url)
        log = page.locator("#log")
        await page.fill("#token", stale)
        await page.click("#connect")
        await expect(log).to_contain_text("refused: jwt expired")
        await page.fill("#token", token)
        await page.click("#connect")
        await expect(log).to_contain_text("connected as ada")
        await page.click("#send")
        await expect(log).to_contain_text("not allowed: Insufficient permissions")
        await page.click("#join")
        await expect(log).to_contain_text("\njoined")
        await page.fill("#text", "hello")
        await page.click("#send")
        await expect(log).to_contain_text("ada: hello")
        await page.fill("#room", "blue")
        await page.click("#join")
        await expect(log).to_contain_text("not joined: Insufficient permissions")
        await browser.close()
