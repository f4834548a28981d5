"""The project on the page about Django, run as the page says, with the official JavaScript client."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from support.server_process import PATIENCE, served_url

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.long]

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "django.md").read_text()
FILES = {name: text for text, name in re.findall(r"^```python\n(# (.+?)\n.*?)^```", PAGE, re.MULTILINE | re.DOTALL)}
PASSWORD = "correct horse battery"
UVICORN = ("uvicorn", "mysite.asgi:application", "--port=0", "--ws-per-message-deflate=false")
EXAMPLE = ("uvicorn", "project:application", "--port=0", "--ws-per-message-deflate=false")
GUNICORN = ("gunicorn", "--worker-class=gthread", "--threads=100", "--bind=127.0.0.1:0", "mysite.wsgi")
PROGRAMS = {"asgi": UVICORN, "wsgi": GUNICORN, "example": EXAMPLE}
SERVERS = ("asgi", "wsgi")
TRANSPORTS = ("polling", "websocket", "upgrade")


@dataclass
class Project:
    """The project of the page.

    Attributes:
        folder: where it is.
    """

    folder: Path

    @classmethod
    def at(cls, folder: Path, *changes: str) -> Project:
        """Create the project, with the blocks of the page that have these names besides those that are files."""
        project = cls(folder)
        project.run("-m", "django", "startproject", "mysite", ".")
        project.run("-m", "django", "startapp", "chat")
        for name, text in FILES.items():
            file = folder / name.partition(" ")[0]
            if name == "mysite/settings.py" or name in changes:
                text = file.read_text() + text
            elif " " in name:
                continue
            file.write_text(text)
        project.prepare()
        return project

    def prepare(self) -> None:
        """Create the tables and the user Ada, in the group of the editors."""
        self.shell(
            "from django.core.management import call_command; call_command('migrate', verbosity=0); "
            "call_command('createsuperuser', interactive=False, username='ada', email='ada@example.com'); "
            "from django.contrib.auth.models import Group, User; "
            "User.objects.get().groups.add(Group.objects.create(name='editor'))"
        )

    @property
    def environment(self) -> dict[str, str]:
        secrets = {"SECRET_KEY": "kT9vX2mQ8rL4wZ7yB1nC6dF3gH5jP0sA-and-more", "DJANGO_SUPERUSER_PASSWORD": PASSWORD}
        environment = {name: value for name, value in os.environ.items() if not name.startswith("DJANGO_")}
        environment["PYTHONPATH"] = os.pathsep.join([str(self.folder), *sys.path])
        return environment | secrets | {"DJANGO_SETTINGS_MODULE": "mysite.settings"}

    def run(self, *arguments: str) -> str:
        environment = self.environment
        if arguments[:2] == ("-m", "django"):
            del environment["DJANGO_SETTINGS_MODULE"]
        command = [sys.executable, *arguments]
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def shell(self, code: str) -> str:
        return self.run("-c", f"import django; django.setup(); {code}")

    @asynccontextmanager
    async def serve(self, server: str) -> AsyncIterator[Site]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", *PROGRAMS[server]),
            cwd=self.folder,
            env=self.environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        reading = None
        try:
            url = await served_url(process.stdout)
            assert process.stdout is not None
            reading = asyncio.create_task(process.stdout.read())  # or the server would wait for a reader
            async with httpx.AsyncClient(base_url=url, timeout=PATIENCE) as http:
                yield Site(url, http)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
            if reading is not None:
                print((await reading).decode()[-3000:])


@dataclass
class Site:
    """The running project."""

    url: str
    http: httpx.AsyncClient
    path: str = "/socket.io"

    async def log_in(self) -> None:
        self.http.cookies.clear()
        await self.http.get("/login/")
        form = {"username": "ada", "password": PASSWORD, "csrfmiddlewaretoken": self.http.cookies["csrftoken"]}
        answer = await self.http.post("/login/", data=form)
        assert answer.status_code == 302, answer.text

    async def token(self) -> str:
        answer = await self.http.post("/token/", headers={"X-CSRFToken": self.http.cookies["csrftoken"]})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    async def log_out(self) -> None:
        answer = await self.http.post("/logout/", headers={"X-CSRFToken": self.http.cookies["csrftoken"]})
        assert answer.status_code == 302, answer.text


@pytest_asyncio.fixture(loop_scope="module")
async def js(js_process: Any) -> AsyncIterator[Any]:
    """Return the Node process that runs clients. They disconnect before the server stops."""
    yield js_process
    js_process.close_all()


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project.at(tmp_path_factory.mktemp("page"))


async def says_revoked(socket: Any) -> None:
    """Assert that a client is disconnected because its token is revoked."""
    *_, told = await socket.skip_to("disconnect")
    assert (told["name"], told["args"][0]["data"]["reason"]) == ("unauthorized", "token_revoked")


@pytest.mark.parametrize("server", SERVERS)
async def test_project_of_the_page_guards_views_and_sockets(project: Project, js: Any, server: str) -> None:
    async with project.serve(server) as site:
        for transports in TRANSPORTS:
            await site.log_in()
            token = await site.token()
            kind = ("current", transports)
            ada = js.open(site, kind, auth={"token": token}, reconnection=False)
            await ada.opened(kind)
            assert await ada.call("whoami") == [{"username": "ada", "email": "ada@example.com"}]
            assert (await ada.call("join-room", "group:editor"))[0]["ok"]
            assert not (await ada.call("join-room", "group:other"))[0]["ok"]
            answer = await site.http.get("/publish/", headers={"Authorization": f"Bearer {token}"})
            assert (answer.status_code, answer.json()) == (200, {"by": "ada"})
            stranger = js.open(site, kind, auth={}, reconnection=False)
            await stranger.expect("connect_error", message="no token provided", active=False)
            await site.log_out()
            await says_revoked(ada)
            answer = await site.http.get("/publish/", headers={"Authorization": f"Bearer {token}"})
            assert answer.status_code == 401


SAVE = (
    "from django.contrib.auth.models import User; ada = User.objects.get(username='ada'); "
    "ada.is_active = False; ada.save(); ada.is_active = True; ada.save()"
)


@pytest.mark.parametrize("server", SERVERS)
async def test_changes_in_other_processes_reach_the_sockets(project: Project, js: Any, server: str) -> None:
    token = project.run("manage.py", "roomkey", "token", "ada")
    kind = ("current", "websocket")
    async with project.serve(server) as site:
        ada = js.open(site, kind, auth={"token": token}, reconnection=False)
        await ada.opened(kind)
        # Each kind of server, and each kind of change: both write the revocation that every server reads.
        if server == "asgi":
            await asyncio.to_thread(project.run, "manage.py", "roomkey", "revoke", "--user", "ada")
        else:
            await asyncio.to_thread(project.shell, SAVE)
        await says_revoked(ada)
        await asyncio.sleep(1.1)  # a token's iat is a whole second, and other tests issue the next one


async def test_command_of_the_page_checks_the_settings(project: Project) -> None:
    assert "fail" not in project.run("manage.py", "roomkey", "check")
    project.run("manage.py", "check")


async def test_tests_of_the_page_pass(project: Project) -> None:
    project.run("manage.py", "test")


async def test_settings_of_the_page_accept_tokens_of_simplejwt(tmp_path: Path) -> None:
    project = Project.at(tmp_path, "mysite/settings.py with simplejwt")
    assert "issued by simplejwt; their subject is the user's id" in project.run("manage.py", "roomkey", "check")
    assert len(project.run("manage.py", "roomkey", "token", "ada").split(".")) == 3


async def test_login_server_of_the_page_logs_in_users_of_the_project(tmp_path: Path, js: Any) -> None:
    project = Project.at(tmp_path)
    asgi = tmp_path / "mysite" / "asgi.py"
    text = asgi.read_text().replace("(sio, django_application)", "(sio, with_logins(django_application))")
    asgi.write_text(
        text.replace("import socketio ", "from chat.logins import with_logins  # noqa: E402\nimport socketio ")
    )
    async with project.serve("asgi") as site:
        answer = await site.http.post("/auth/login", json={"username": "ada", "password": PASSWORD})
        assert answer.status_code == 200, answer.text
        token = answer.json()["access_token"]
        kind = ("current", "upgrade")
        ada = js.open(site, kind, auth={"token": token}, reconnection=False)
        await ada.opened(kind)
        assert (await site.http.get("/login/")).status_code == 200
        answer = await site.http.post("/auth/logout", headers={"Authorization": f"Bearer {token}"})
        assert answer.json() == {"sockets": 1}
        await says_revoked(ada)


async def test_example_project_disconnects_at_logout(js: Any, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    shutil.copytree(ROOT / "examples" / "django_project", folder)
    project = Project(folder)
    project.run("project.py", "migrate", "--verbosity=0")
    project.run("project.py", "createsuperuser", "--no-input", "--username=ada", "--email=ada@example.com")
    async with project.serve("example") as site:
        assert (await site.http.get("/")).status_code == 302
        await site.log_in()
        assert "/socket.io.min.js" in (await site.http.get("/")).text
        kind = ("current", "upgrade")
        ada = js.open(site, kind, auth={"token": await site.token()}, reconnection=False)
        await ada.opened(kind)
        ada.emit("message", "hello")
        await ada.event("message", {"from": "ada", "text": "hello"})
        await site.log_out()
        await says_revoked(ada)
