"""A synchronous server: handlers in threads, and processes without a server."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import socketio
from support.djangosite.configured import configure

from roomkey.testing import assert_refused, connect_blocking


@pytest.fixture
def server(project: None) -> Iterator[Any]:
    from roomkey.django import Guard

    sio = socketio.Server(async_mode="threading")
    guard = Guard()
    guard.attach(sio)
    guard.serve_rooms()
    yield sio
    guard.close()


@pytest.fixture
def opened(project: None) -> Iterator[list[Any]]:
    """Return the connections that threads other than the main one open."""
    from django.db.backends.signals import connection_created

    found: list[Any] = []

    def note(connection: Any, **_: Any) -> None:
        if threading.current_thread() is not threading.main_thread():
            found.append(connection)

    connection_created.connect(note)
    yield found
    connection_created.disconnect(note)


def add_user(*groups: str) -> Any:
    from django.contrib.auth.models import Group, User

    user = User.objects.create_user("ada", password="correct horse")
    user.groups.set([Group.objects.get_or_create(name=name)[0] for name in groups])
    return user


def token_of(user: Any) -> str:
    from roomkey.django import issue_token

    return issue_token(user)


def test_a_handler_uses_the_orm_and_its_connection_is_closed(server: Any, opened: list[Any]) -> None:
    from django.contrib.auth.models import User

    @server.event
    def whoami(sid: str) -> str:
        return User.objects.get(username=server.roomkey_guard.identity(sid).subject).username

    with connect_blocking(server, token=token_of(add_user())) as ada:
        assert ada.call("whoami") == "ada"
        ada.settle()
    assert len(opened) == 1
    assert opened[0].connection is None


def test_a_rule_uses_the_orm(server: Any) -> None:
    with connect_blocking(server, token=token_of(add_user("red"))) as ada:
        for name in ("group:red", "red"):
            ada.join(name)
        for name in ("group:blue", "blue"):
            with assert_refused(code="permission_denied"):
                ada.join(name)


def test_a_disconnect_handler_keeps_the_connection_of_a_view(server: Any) -> None:
    """A view may read users from the database while it disconnects them."""
    from django.contrib.auth.models import User
    from django.db import connection

    counted = []

    @server.event
    def disconnect(sid: str, reason: str) -> None:
        counted.append(User.objects.count())

    with connect_blocking(server, token=token_of(add_user())) as ada:
        before = connection.connection
        assert server.roomkey_guard.revoke(subject="ada") == 1
        ada.settle()
        assert connection.connection is before is not None
    assert counted == [1]


def test_a_deactivated_user_is_disconnected(server: Any) -> None:
    user = add_user()
    with connect_blocking(server, token=token_of(user)) as ada:
        user.is_active = False
        user.save()
        assert ada.receive("unauthorized")["data"]["reason"] == "token_revoked"
    assert server.roomkey_guard.sockets("ada") == []


def test_a_request_is_verified_by_the_guard_of_the_server(server: Any) -> None:
    from django.test import Client

    token = token_of(add_user("editor"))
    headers = {"authorization": f"Bearer {token}"}
    assert Client(headers=headers).get("/edit/").status_code == 200
    assert Client(headers=headers).get("/async-edit/").status_code == 200
    server.roomkey_guard.revoke(subject="ada")
    assert Client(headers=headers).get("/edit/").status_code == 401
    assert Client(headers=headers).get("/async-edit/").status_code == 401


def test_a_process_without_a_server_verifies_and_revokes_through_the_store(settings: Any, tmp_path: Path) -> None:
    from django.conf import settings as current
    from django.test import Client

    from roomkey.django import Guard, guards

    settings(ROOMKEY={**current.ROOMKEY, "REVOCATIONS": str(tmp_path / "revocations.sqlite3")})
    user = add_user("editor")
    headers = {"authorization": f"Bearer {token_of(user)}"}
    assert Client(headers=headers).get("/edit/").status_code == 200
    sio = socketio.Server(async_mode="threading")
    elsewhere = Guard()  # of a server in another process, as far as this one knows
    elsewhere.attach(sio)
    guards.ATTACHED.clear()
    with connect_blocking(sio, token=token_of(user)) as ada:
        user.is_active = False
        user.save()
        assert Client(headers=headers).get("/edit/").status_code == 401
        assert ada.receive("unauthorized")["data"]["reason"] == "token_revoked"
    elsewhere.close()
    guards.guard_here().close()


def test_command_revokes_through_the_store_only(settings: Any, tmp_path: Path) -> None:
    from django.conf import settings as current
    from django.core.management import CommandError, call_command

    from roomkey.django import guards

    user = add_user()
    with pytest.raises(CommandError, match="set REVOCATIONS"):
        call_command("roomkey", "revoke", "--user", "ada")
    settings(ROOMKEY={**current.ROOMKEY, "REVOCATIONS": str(tmp_path / "revocations.sqlite3")})
    token = token_of(user)
    call_command("roomkey", "revoke", "--user", "ada")
    with pytest.raises(Exception, match="revoked"):
        guards.verify_blocking(token, "header")
    guards.guard_here().close()


def test_a_missing_library_names_the_extra() -> None:
    configure()
    code = "import sys; sys.modules['django'] = None; import roomkey.django"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "run: pip install 'roomkey[django]'" in done.stderr
