"""``roomkey token issue``, ``roomkey token inspect`` and ``roomkey token revoke``."""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest

from roomkey import Issuer, Key
from roomkey.keysets.files import make_folder, save_key, write_private

Cli = Callable[..., Any]
SECRET_TEXT = secrets.token_urlsafe(40)


@pytest.fixture
def secret_file(here: Path) -> str:
    write_private(here / "secret", SECRET_TEXT.encode() + b"\n")
    return "secret"


def test_issue_and_inspect_use_the_servers_keys(roomkey: Cli) -> None:
    assert roomkey("keys", "new").code == 0
    made = roomkey("token", "issue", "ada", "--role", "admin", "--room", "red", "--room", "blue")
    assert made.code == 0
    assert re.fullmatch(r"[\w-]+\.[\w-]+\.[\w-]+\n", made.out), "the token alone, for $(...)"
    seen = roomkey("token", "inspect", stdin=made.out)
    assert seen.code == 0, seen.err
    for words in ("sub", "ada", '["red", "blue"]', "in 14 min", "Accepted", "the keys in keys", "issuer roomkey"):
        assert words in seen.out
    assert made.out.strip().rsplit(".", 1)[1] not in seen.out, "the signature is not shown"


def test_inspect_without_a_key_only_shows_the_token(roomkey: Cli) -> None:
    seen = roomkey("token", "inspect", "-", stdin=Issuer.ephemeral().issue("ada"))
    assert seen.code == 0
    assert "ada" in seen.out
    assert "Neither accepted nor rejected, not checked: use --key-file" in seen.out


def test_inspect_without_a_key_names_the_options_that_it_ignores(roomkey: Cli) -> None:
    token = Issuer.ephemeral().issue("ada")
    seen = roomkey("token", "inspect", "--map", "subject=user", "--audience", "chat", "--preset", "auth0", stdin=token)
    assert seen.code == 0
    assert seen.err == "ignored --audience, --map, --preset: there is no key to verify the token with\n"


def test_issue_without_a_key_says_what_to_do(roomkey: Cli) -> None:
    made = roomkey("token", "issue", "ada")
    assert (made.code, made.out) == (1, "")
    assert "roomkey keys new" in made.err
    assert made.err.count("\n") == 1


def test_issue_warns_if_the_token_is_valid_longer_than_revocations(roomkey: Cli, secret_file: str) -> None:
    week = roomkey("token", "issue", "ada", "--expires-in", "7d", "--secret-file", secret_file)
    month = roomkey("token", "issue", "ada", "--expires-in", "30d", "--secret-file", secret_file)
    assert (week.code, week.err, month.code) == (0, "", 0)
    assert month.err == "revocations are not kept that long; to revoke it, use --expires-in 30d\n"


def test_inspect_shows_how_long_ago_a_token_expired(roomkey: Cli, secret_file: str) -> None:
    token = roomkey("token", "issue", "ada", "--expires-in", "-3m", "--secret-file", secret_file).out
    seen = roomkey("token", "inspect", "--secret-file", secret_file, stdin=token)
    assert seen.code == 1
    assert re.search(r"Rejected: expired 18[0-3] s ago, leeway 30 s \(token_expired\)", seen.out)
    assert "3 min ago" in seen.out
    assert roomkey("token", "inspect", "--secret-file", secret_file, "--leeway", "300", stdin=token).code == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--audience", "other"], "aud is 'chat', expected other"),
        (["--audience", "chat", "--issuer", "other"], "iss is 'me', expected other"),
        ([], "aud is 'chat', expected none"),
    ],
)
def test_inspect_names_the_first_check_that_fails(
    roomkey: Cli, secret_file: str, options: list[str], said: str
) -> None:
    arguments = ["--issuer", "me", "--audience", "chat", "--secret-file", secret_file]
    token = roomkey("token", "issue", "ada", *arguments).out
    seen = roomkey("token", "inspect", "--secret-file", secret_file, *options, stdin=token)
    assert seen.code == 1
    assert said in seen.out


def test_inspect_rejects_a_wrong_key_and_a_wrong_algorithm(roomkey: Cli, here: Path, secret_file: str) -> None:
    token = roomkey("token", "issue", "ada", "--secret-file", secret_file).out
    save_key(Key.generate("HS256"), here / "other.jwk")
    assert "bad_signature" in roomkey("token", "inspect", "--key-file", "other.jwk", stdin=token).out
    save_key(Key.generate("ES256"), here / "ec.jwk")
    seen = roomkey("token", "inspect", "--key-file", "ec.jwk", stdin=token)
    assert (seen.code, "HS256" in seen.out) == (1, True)


def test_inspect_reads_claims_from_other_places(roomkey: Cli, secret_file: str) -> None:
    claims = {"exp": int(time.time()) + 60, "user_id": 7, "token_type": "access"}
    token = jwt.encode(claims, SECRET_TEXT, algorithm="HS256")

    def inspected(*options: str) -> int:
        return roomkey("token", "inspect", "--secret-file", secret_file, *options, stdin=token).code

    assert inspected() == 1
    assert inspected("--map", "subject=user_id") == 1
    assert inspected("--map", "subject=user_id", "--integer-subject") == 0
    assert inspected("--preset", "simplejwt") == 0
    assert inspected("--preset", "keycloak") == 1
    assert inspected("--preset", "okta") == inspected("--map", "groups=x") == inspected("--map", "subject") == 2


def test_inspect_accepts_a_public_pem(roomkey: Cli, here: Path) -> None:
    made = roomkey("keys", "new", "--algorithm", "RS256", "--pem", "--out", "private.pem")
    (here / "public.pem").write_text(made.out)
    arguments = ("--key-file", "private.pem", "--algorithm", "RS256")
    token = roomkey("token", "issue", "ada", *arguments).out
    assert roomkey("token", "inspect", "--key-file", "public.pem", stdin=token).code == 0
    refused = roomkey("token", "issue", "ada", "--key-file", "public.pem", "--algorithm", "RS256")
    assert (refused.code, "no private key" in refused.err) == (1, True)


def test_secret_in_the_environment_is_used_and_not_shown(roomkey: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOMKEY_SECRET", SECRET_TEXT)
    token = roomkey("token", "issue", "ada").out
    seen = roomkey("token", "inspect", stdin=token)
    assert (seen.code, "the secret in ROOMKEY_SECRET" in seen.out) == (0, True)
    assert SECRET_TEXT not in seen.out + seen.err


def header_of(ran: Any) -> dict[str, Any]:
    return jwt.get_unverified_header(ran.out.strip())


def test_key_in_the_environment_replaces_the_folder(roomkey: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in ``roomkey serve``: it is used instead of the folder."""
    roomkey("keys", "new")
    of_the_folder = roomkey("token", "issue", "ada").out
    key = Key.generate("ES256")
    monkeypatch.setenv("ROOMKEY_KEY", json.dumps(key.to_jwk(private=True)))
    made = roomkey("token", "issue", "ada")
    assert header_of(made)["kid"] == key.kid
    seen = roomkey("token", "inspect", stdin=made.out)
    assert (seen.code, "the key in ROOMKEY_KEY" in seen.out, "issuer roomkey" in seen.out) == (0, True, True)
    assert roomkey("token", "inspect", stdin=of_the_folder).code == 1

    monkeypatch.setenv("ROOMKEY_SECRET", SECRET_TEXT)
    assert header_of(roomkey("token", "issue", "ada"))["alg"] == "HS256"


def test_unusable_key_in_the_environment_is_an_error(roomkey: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    roomkey("keys", "new")
    key = Key.generate("ES384")
    for value, said in [
        (json.dumps(key.to_jwk(private=True)), "the key in ROOMKEY_KEY is for ES384, not ES256"),
        (json.dumps(key.to_jwk()), "ROOMKEY_KEY contains a public key"),
        (SECRET_TEXT, "ROOMKEY_KEY: neither a JSON Web Key nor PEM"),
    ]:
        monkeypatch.setenv("ROOMKEY_KEY", value)
        made = roomkey("token", "issue", "ada")
        assert (made.code, made.out) == (1, "")
        assert said in made.err
        assert SECRET_TEXT not in made.err


@pytest.mark.parametrize("command", ["issue", "inspect"])
def test_help_says_which_keys_are_used(roomkey: Cli, command: str) -> None:
    told = " ".join(roomkey("token", command, "--help").out.split())
    assert re.search(r"Without --key-file and --secret-file, .*ROOMKEY_SECRET.*ROOMKEY_KEY, else .*folder", told)


def test_inspect_accepts_the_keys_that_the_server_accepts(roomkey: Cli, here: Path) -> None:
    """Keys rotate: a retired one is refused, and the next one does not sign yet."""
    make_folder(here / "keys")
    now, made = int(time.time()), {}
    for state, not_before in [
        ("retired", now - 9000),
        ("retiring", now - 5000),
        ("signing", now - 600),
        ("next", now + 600),
    ]:
        key = made[state] = Key.generate("ES256")
        save_key(key, here / "keys" / f"{key.kid}.jwk", not_before)
    assert [key["state"] for key in json.loads(roomkey("keys", "list", "--json").out)] == list(made)
    assert header_of(roomkey("token", "issue", "ada"))["kid"] == made["signing"].kid
    for state, key in made.items():
        token = Issuer(key, issuer="roomkey", audience="roomkey").issue("ada")
        seen = json.loads(roomkey("token", "inspect", "--json", stdin=token).out)
        assert seen["verdict"]["accepted"] is (state != "retired"), state


def test_issue_without_a_key_for_the_algorithm_says_what_to_do(roomkey: Cli) -> None:
    roomkey("keys", "new", "--algorithm", "ES384")
    made = roomkey("token", "issue", "ada")
    assert (made.code, made.err) == (
        1,
        "no key for ES256 in keys; create one with `roomkey keys new --algorithm ES256`\n",
    )


def test_weak_secret_is_rejected_and_not_shown(roomkey: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOMKEY_SECRET", "hunter2-hunter2")
    seen = roomkey("token", "inspect", stdin=Issuer.ephemeral().issue("ada"))
    assert seen.code == 2
    assert "at least 32" in seen.err
    assert "hunter2" not in seen.out + seen.err


def test_inspect_prints_json(roomkey: Cli, secret_file: str) -> None:
    arguments = ["--expires-in", "1h", "--claim", "level=3", "--claim", "team=red", "--scope", "chat"]
    token = roomkey("token", "issue", "ada", *arguments, "--secret-file", secret_file).out
    seen = json.loads(roomkey("token", "inspect", "--json", "--secret-file", secret_file, stdin=token).out)
    assert seen["header"]["alg"] == "HS256"
    assert (seen["claims"]["level"], seen["claims"]["team"], seen["claims"]["scope"]) == (3, "red", "chat")
    assert seen["claims"]["exp"] - seen["claims"]["iat"] == 3600
    assert seen["verdict"]["accepted"] is True
    wrong = roomkey("token", "inspect", "--json", "--secret-file", secret_file, "--audience", "x", stdin=token)
    assert wrong.code == 1
    assert json.loads(wrong.out)["verdict"]["check"] == "claim"


def test_inspect_without_a_token_is_wrong_usage(roomkey: Cli) -> None:
    ran = roomkey("token", "inspect", stdin="")
    assert (ran.code, ran.err) == (2, "no token on standard input\n")


def test_inspect_suggests_a_missing_audience(roomkey: Cli, secret_file: str) -> None:
    token = roomkey("token", "issue", "ada", "--secret-file", secret_file, "--audience", "chat").out
    assert "did you forget --audience?" in roomkey("token", "inspect", "--secret-file", secret_file, stdin=token).out


@pytest.mark.parametrize("text", ["no token", "a.b", "a.b.c", "eyJ.eyJ.x", "x" * 20_000, "é.é.é"])
def test_inspect_rejects_text_that_is_not_a_token(roomkey: Cli, secret_file: str, text: str) -> None:
    for arguments in ([], ["--secret-file", secret_file]):
        seen = roomkey("token", "inspect", *arguments, stdin=text)
        assert (seen.code, seen.err) == (1, "")
        assert "Rejected: " in seen.out


def test_inspect_reads_bearer_a_file_and_an_argument(roomkey: Cli, here: Path) -> None:
    token = Issuer.ephemeral().issue("ada")
    (here / "token.txt").write_text(f"Bearer {token}\n")
    for arguments, stdin in ((["-"], f"bearer {token}"), (["token.txt"], ""), ([token], "")):
        assert "ada" in roomkey("token", "inspect", *arguments, stdin=stdin).out
    absent = roomkey("token", "inspect", "absent.txt")
    assert (absent.code, absent.err) == (2, "cannot read the file absent.txt\n")


@pytest.mark.checklist("H113")
def test_claims_cannot_write_control_sequences_to_the_terminal(roomkey: Cli) -> None:
    token = Issuer.ephemeral().issue("ada", claims={"nick": "\x1b[31mred\nAccepted", "\x1b[0m": 1})
    seen = roomkey("token", "inspect", stdin=token)
    assert "\x1b" not in seen.out
    assert "\nAccepted" not in seen.out


@pytest.mark.parametrize(
    "arguments",
    [
        ["token", "issue", "ada", "--expires-in", "soon"],
        ["token", "issue", "ada", "--claim", "novalue"],
        ["token", "issue"],
        ["token", "inspect", "--key-file", "a", "--secret-file", "b"],
        ["token", "nonsense"],
    ],
)
def test_wrong_usage_exits_with_2(roomkey: Cli, monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    monkeypatch.setenv("ROOMKEY_SECRET", SECRET_TEXT)
    ran = roomkey(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert "Traceback" not in ran.err


def test_claim_that_has_its_own_option_is_rejected(roomkey: Cli, secret_file: str) -> None:
    ran = roomkey("token", "issue", "ada", "--claim", "exp=5", "--secret-file", secret_file)
    assert (ran.code, ran.err.count("\n")) == (1, 1)


WEEK = 7 * 86400
PLACES = ["sqlite", "postgresql"]


@pytest.fixture
def database(here: Path, tables: Any, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The tables of a server's database, which the settings name."""
    if getattr(request, "param", "sqlite") == "postgresql":
        where = request.getfixturevalue("postgres").database()
        monkeypatch.setenv("ROOMKEY_DATABASE", where)
        tables = tables.at(where)
    assert tables.revocations() == []  # which makes them
    return tables


@pytest.mark.parametrize("database", PLACES, indirect=True)
def test_revoke_subject_stores_a_revocation(roomkey: Cli, database: Any) -> None:
    before = time.time()
    ran = roomkey("token", "revoke", "--subject", "ada")
    assert (ran.code, ran.err) == (0, "")
    (kept,) = database.revocations()
    assert (kept.kind, kept.name, kept.issuer) == ("subject", "ada", None)
    assert before <= kept.issued_before <= time.time()
    assert kept.expires_at == pytest.approx(kept.issued_before + WEEK)
    assert ran.out.startswith("revoked all tokens of ada issued up to 20")
    assert re.search(
        r"running servers on \S*(roomkey.sqlite3|/test\d+) disconnect their sockets within a second\n$", ran.out
    )


@pytest.mark.parametrize(
    ("arguments", "kept"),
    [
        (["--token-id", "j1"], ("token", "j1", None, 0.0, WEEK)),
        (["--session-id", "s1", "--issuer", "me"], ("session", "s1", "me", 0.0, WEEK)),
        (["--token-id", "j1", "--expires-in", "30d"], ("token", "j1", None, 0.0, 30 * 86400)),
        (["--subject", "a", "--issued-before", "1700000000.5"], ("subject", "a", None, 1_700_000_000.5, WEEK)),
        (["--subject", "a", "--issued-before", "2023-11-14T22:13:20Z"], ("subject", "a", None, 1_700_000_000, WEEK)),
        (["--subject", "a", "--issued-before", "2023-11-14T22:13:20"], ("subject", "a", None, 1_700_000_000, WEEK)),
    ],
)
def test_revoke_stores_a_revocation_for_each_kind_of_name(
    roomkey: Cli, database: Any, arguments: list[str], kept: tuple[Any, ...]
) -> None:
    assert roomkey("token", "revoke", *arguments).code == 0
    (found,) = database.revocations()
    assert (found.kind, found.name, found.issuer, found.issued_before) == kept[:4]
    assert found.expires_at - time.time() == pytest.approx(kept[4], abs=60)


@pytest.mark.parametrize(("lifetime", "kept"), [(900, WEEK), (30 * 86400, 30 * 86400)])
def test_revoke_token_stores_it_until_its_expiry(
    roomkey: Cli, here: Path, database: Any, lifetime: int, kept: int
) -> None:
    """By its jti, of its issuer, and never for a shorter time than it lives."""
    token = Issuer.ephemeral(issuer="me").issue("ada", expires_in=lifetime)
    (here / "token.txt").write_text(f"Bearer {token}\n")
    said = [roomkey("token", "revoke", "-", stdin=token), roomkey("token", "revoke", "token.txt")]
    assert [ran.code for ran in said] == [0, 0], said
    first, second = database.revocations()
    assert (first.kind, first.name, first.issuer) == (second.kind, second.name, second.issuer)
    assert (first.kind, first.issuer) == ("token", "me")
    assert first.name in roomkey("token", "inspect", stdin=token).out
    assert first.expires_at - time.time() == pytest.approx(kept, abs=60)
    assert token not in said[0].out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "exactly one of --token-id, --session-id, --subject and FILE"),
        (["--token-id", "j", "--subject", "a"], "exactly one of"),
        (["-", "--subject", "a"], "exactly one of"),
        (["--token-id", "j", "--issued-before", "1"], "--issued-before requires --subject"),
        (["--subject", "a", "--issued-before", "yesterday"], "seconds since the epoch"),
        (["--subject", "a", "--expires-in", "0"], "more than 0"),
        (["--subject", "a", "--expires-in", "soon"], "900, 15m"),
        (["absent.txt"], "cannot read the file absent.txt"),
    ],
)
def test_revoke_wrong_usage(roomkey: Cli, database: Any, arguments: list[str], said: str) -> None:
    ran = roomkey("token", "revoke", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert said in " ".join(ran.err.split())
    assert database.revocations() == []


def test_revoke_says_what_to_do_next(roomkey: Cli, here: Path, database: Any) -> None:
    token = Issuer.ephemeral().issue("ada")
    on_the_line = roomkey("token", "revoke", token)
    assert (on_the_line.code, "use a file, or - for standard input" in on_the_line.err) == (2, True)
    assert token not in on_the_line.err
    for stdin, said in [
        (jwt.encode({"sub": "ada"}, SECRET_TEXT), "roomkey token revoke --subject NAME"),
        ("no token", "not a token"),
    ]:
        ran = roomkey("token", "revoke", "-", stdin=stdin)
        assert (ran.code, said in ran.err, ran.err.count("\n")) == (1, True, 1), ran
    ahead = roomkey("token", "revoke", "--subject", "a", "--issued-before", "2999-01-01")
    assert (ahead.code, "must not be in the future" in ahead.err) == (1, True)
    elsewhere = roomkey("token", "revoke", "--subject", "a", "--database", "other.sqlite3")
    assert (elsewhere.code, "no database other.sqlite3; go to the server's folder" in elsewhere.err) == (
        1,
        True,
    )
    assert not (here / "other.sqlite3").exists(), "no server would read it"
    assert database.revocations() == []


def test_unavailable_database_is_reported_without_its_password(roomkey: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    url = "postgresql://roomkey:hunter2@127.0.0.1:1/db"
    on_the_line = roomkey("token", "revoke", "--subject", "a", "--database", url)
    assert (on_the_line.code, "PGPASSFILE" in on_the_line.err) == (2, True)
    monkeypatch.setenv("ROOMKEY_DATABASE", url)
    away = roomkey("token", "revoke", "--subject", "a")
    assert (away.code, away.out) == (1, "")
    assert away.err == "the database failed: ConnectionRefusedError; run `roomkey doctor` to find the cause\n"
    assert "hunter2" not in on_the_line.err + on_the_line.out + away.err + roomkey("serve", "--help").out
