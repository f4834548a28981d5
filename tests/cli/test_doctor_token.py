"""``roomkey doctor --token`` decides as the server does."""

from __future__ import annotations

import time

import jwt
import pytest

RULES = """
roles = ["admin > member"]

[[namespace]]
name = "/admin"
allow = "role:admin"

[[room]]
pattern = "team:{team}"
allow = "role:member and claim:rooms has team"

[[presence]]
pattern = "team:{team}"
allow = "team is 'red'"

[[event]]
name = "close"
allow = "role:admin"
"""


@pytest.fixture
def token(roomkey, tmp_path):
    (tmp_path / "roomkey.toml").write_text(RULES)
    roomkey("keys", "new")
    (tmp_path / "token").write_text(roomkey("token", "issue", "ada", "--role", "member", "--room", "red").out)
    return "token"


@pytest.mark.parametrize(
    ("wish", "code", "verdict"),
    [
        ([], 0, "yes   namespace '/'"),
        (["--room", "team:red"], 0, "yes   room 'team:red': allowed by the rule for room team:{team}"),
        (["--room", "team:blue"], 1, "no    room 'team:blue': denied"),
        (["--event", "close"], 1, "no    event 'close': denied"),
        (["--event", "say"], 0, "yes   event 'say'"),
        (["--emit", "team:red=say"], 0, "yes   emit 'team:red'"),
        (["--presence", "team:red"], 0, "yes   presence 'team:red': allowed by the rule for presence team:{team}"),
        (["--presence", "team:blue"], 1, "no    presence 'team:blue': denied"),
        (["--namespace", "/admin"], 1, "no    namespace '/admin'"),
    ],
)
def test_explain_names_the_rule_that_decides(roomkey, token, wish, code, verdict):
    done = roomkey("doctor", "--token", token, *wish)
    assert done.code == code
    assert verdict in done.out
    assert "subject 'ada', roles: member, rooms: red" in done.out


def test_explain_reports_an_invalid_token(roomkey, token, tmp_path):
    (tmp_path / "token").write_text((tmp_path / "token").read_text()[:-8] + "AAAAAAA\n")
    done = roomkey("doctor", "--token", token, "--room", "team:red")
    assert done.code == 1
    assert done.out.startswith("no    token: rejected, ")
    assert "room" not in done.out.partition("\n")[2]


def test_room_emit_and_event_require_a_token(roomkey):
    ran = roomkey("doctor", "--room", "red")
    assert ran.code == 2
    assert "--token" in ran.err


def test_explain_reports_an_invalid_rule(roomkey, tmp_path):
    (tmp_path / "roomkey.toml").write_text('[[room]]\npattern = "a"\nallow = "role:x and"\n')
    ran = roomkey("doctor")
    assert ran.code == 1
    assert "roomkey.toml:3:" in ran.out


def test_explain_mentions_a_missing_iat(roomkey, tmp_path, monkeypatch):
    secret = "kT9vX2mQ8rL4wZ7yB1nC6dF3gH5jP0sA"
    monkeypatch.setenv("ROOMKEY_SECRET", secret)
    (tmp_path / "token").write_text(jwt.encode({"sub": "ada", "exp": time.time() + 60}, secret, algorithm="HS256"))
    done = roomkey("doctor", "--token", "token")
    assert done.code == 0
    assert "yes   token: no iat" in done.out
