"""Keys can be rotated while servers use them."""

from __future__ import annotations

import json
import logging
import os
from collections import deque
from pathlib import Path

import pytest
from support.clock import FakeClock

from roomkey import Issuer, Key, KeySet, Verifier
from roomkey.errors import BadSignature, ConfigError, UnknownKey
from roomkey.keysets.files import key_path, load_key_files, load_keys, load_or_create, save_key
from roomkey.keysets.folder import CHECK_SECONDS, RETRY_SECONDS, KeyFolder, remove_retired, rotate
from roomkey.keysets.rotation import LEEWAY, KeyState

LIFETIME = 120
AHEAD = 60
STEP = 5
PRIVATE = ("d", "p", "q", "dp", "dq", "qi", "oth", "k")


def made(folder: Path, now: float, algorithm: str = "ES256", publish_before: float = AHEAD) -> Key:
    *_, last = rotate(folder, algorithm, now, lifetime=LIFETIME, publish_before=publish_before)
    return last.file.key


def kids(keys: KeySet) -> list[str]:
    return [key.kid for key in keys]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    load_or_create(tmp_path / "keys", "ES256")
    return tmp_path / "keys"


class Published:
    """What a verifier elsewhere holds: a copy of the public keys, fetched again when it is too old."""

    def __init__(self, source: KeyFolder, max_age: float) -> None:
        self._source, self._max_age, self._fetched = source, max_age, -1.0
        self.texts: set[str] = set()

    def keys(self, now: float) -> KeySet:
        if self._fetched < 0 or now >= self._fetched + self._max_age:
            jwks = self._source.accepted(now).to_jwks()
            self.texts.add(json.dumps(jwks))
            self._fetched, self._copy = now, KeySet.from_jwks(jwks)
        return self._copy


@pytest.mark.checklist("G106")
@pytest.mark.parametrize("algorithm", ["HS256", "RS256", "ES256", "EdDSA"])  # one for each kind of key
def test_every_token_is_valid_during_a_rotation(tmp_path: Path, clock: FakeClock, algorithm: str) -> None:
    """Two servers sign and verify without a pause, a third verifies with a copy of the public keys."""
    folder = tmp_path / "keys"
    load_or_create(folder, algorithm)
    servers = [KeyFolder(folder, algorithm, LIFETIME) for _ in range(2)]
    issuers = [Issuer(keys.signing, expires_in=LIFETIME, clock=clock.now) for keys in servers]
    published = Published(servers[0], max_age=AHEAD / 2)
    sources = [keys.accepted for keys in servers] + ([] if algorithm.startswith("HS") else [published.keys])
    verifiers = [Verifier(source, algorithms=[algorithm], leeway=0) for source in sources]
    secrets: set[str] = set()
    signed_with: list[str] = []
    tokens: deque[tuple[float, str]] = deque()
    for step in range(160):
        if step in (10, 70):
            planned = rotate(folder, algorithm, clock.time, lifetime=LIFETIME, publish_before=AHEAD)
            remove_retired(planned)
        for file in load_key_files(folder) if step in (0, 10, 70) else ():
            secrets |= {str(v) for name, v in file.key.to_jwk(private=True).items() if name in PRIVATE}
        for issuer in issuers:
            token = issuer.issue("ada")
            signed_with.append(issuer.key.kid)
            tokens.append((int(clock.time) + LIFETIME, token))
            for verifier in verifiers:
                assert verifier.verify(token, clock.time)
        while tokens[0][0] < clock.time + STEP:
            _, token = tokens.popleft()
            for verifier in verifiers:
                assert verifier.verify(token, clock.time), "in its last seconds"
        clock.advance(STEP if step % 2 else STEP - 0.5)
    assert len(set(signed_with)) == 3, "every key has had its turn"
    assert [kid for kid, before in zip(signed_with, [None, *signed_with], strict=False) if kid != before] == list(
        dict.fromkeys(signed_with)
    ), "and each only one"
    assert published.texts or algorithm.startswith("HS")
    jwks = json.dumps([keys.accepted(clock.time).to_jwks() for keys in servers]) + "".join(published.texts)
    assert len(secrets) >= 3
    assert not [secret for secret in secrets if secret in jwks]
    for text in published.texts:
        assert not {name for key in json.loads(text)["keys"] for name in key}.intersection((*PRIVATE, "nbf"))


def test_key_is_published_before_it_signs_and_until_its_tokens_expire(folder: Path, clock: FakeClock) -> None:
    keys = KeyFolder(folder, "ES256", LIFETIME)
    old = keys.signing(clock.time)
    assert kids(keys.accepted(clock.time)) == [old.kid]
    new = made(folder, clock.time)
    clock.advance(CHECK_SECONDS)
    assert (keys.signing(clock.time).kid, kids(keys.accepted(clock.time))) == (old.kid, [old.kid, new.kid])
    start = int(clock.time - CHECK_SECONDS + AHEAD)
    assert keys.signing(start - 0.01).kid == old.kid
    assert keys.signing(start).kid == new.kid
    end = start + LIFETIME + LEEWAY
    assert kids(keys.accepted(end - 0.01)) == [old.kid, new.kid]
    assert kids(keys.accepted(end)) == [new.kid]
    assert not any(key.is_private for key in keys.accepted(end))


def test_token_of_a_retired_key_is_rejected(folder: Path, clock: FakeClock) -> None:
    keys = KeyFolder(folder, "ES256", LIFETIME)
    stolen = Issuer(keys.signing(clock.time), clock=clock.now, expires_in=10**6).issue("eve")
    verifier = Verifier(keys.accepted, algorithms=["ES256"])
    assert verifier.verify(stolen, clock.time)
    made(folder, clock.time, publish_before=0)
    clock.advance(LIFETIME + LEEWAY)
    with pytest.raises(UnknownKey):
        verifier.verify(stolen, clock.time)


def test_folder_is_checked_once_a_second(folder: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = KeyFolder(folder, "ES256", LIFETIME)
    looks: list[object] = []
    scan = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: looks.append(path) or scan(path))
    for _ in range(100):
        keys.signing(clock.time)
        keys.accepted(clock.time + CHECK_SECONDS / 2)
    assert len(looks) == 1
    before = keys.signing(clock.time)
    made(folder, clock.time)
    clock.advance(CHECK_SECONDS)
    assert len(keys.accepted(clock.time)) == 2
    assert keys.signing(clock.time) is before


@pytest.mark.parametrize("trouble", ["broken", "readable", "twice", "directory", "gone", "empty", "closed"])
def test_unreadable_folder_keeps_the_keys_and_is_logged_once(
    folder: Path, clock: FakeClock, caplog: pytest.LogCaptureFixture, trouble: str
) -> None:
    caplog.set_level(logging.INFO, "roomkey.keys")
    keys = KeyFolder(folder, "ES256", LIFETIME)
    signing = keys.signing(clock.time)
    file, bad = key_path(folder, signing), folder / "bad.jwk"
    text = file.read_bytes()
    if trouble == "broken":
        bad.write_bytes(text[:-20])
        bad.chmod(0o600)
    elif trouble == "readable":
        save_key(Key.generate("ES256"), bad)
        bad.chmod(0o644)
    elif trouble == "twice":
        save_key(Key.generate("ES256", kid=signing.kid), bad)
    elif trouble == "directory":
        bad.mkdir()
    elif trouble == "gone":
        folder.rename(folder.with_name("elsewhere"))
    elif trouble == "empty":
        file.unlink()
    else:
        folder.chmod(0o755)
    for _ in range(50):
        clock.advance(CHECK_SECONDS)
        assert keys.signing(clock.time) is signing
        assert kids(keys.accepted(clock.time)) == [signing.kid]
    assert keys.problem is not None
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert keys.problem in caplog.text
    assert str(signing.to_jwk(private=True)["d"]) not in caplog.text + keys.problem
    assert "stay in use" in caplog.text


def test_repaired_folder_is_read_again(folder: Path, clock: FakeClock) -> None:
    keys = KeyFolder(folder, "ES256", LIFETIME)
    new = Key.generate("ES256")
    save_key(new, folder / "new.jwk")
    (folder / "new.jwk").chmod(0o640)
    keys.signing(clock.time)
    assert keys.problem is not None
    assert "chmod 600" in keys.problem
    (folder / "new.jwk").chmod(0o600)
    clock.advance(CHECK_SECONDS)
    assert keys.signing(clock.time).kid == new.kid
    assert keys.problem is None


def test_temporary_failure_is_retried(folder: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = KeyFolder(folder, "ES256", LIFETIME)
    new = made(folder, clock.time, publish_before=0)
    with monkeypatch.context() as patched:
        patched.setattr(os, "open", lambda *_args, **_named: (_ for _ in ()).throw(OSError(24, "Too many open files")))
        keys.signing(clock.time)
    assert "Too many open files" in str(keys.problem)
    clock.advance(RETRY_SECONDS)
    assert keys.signing(clock.time).kid == new.kid


def test_deleted_key_is_rejected_immediately(folder: Path, clock: FakeClock) -> None:
    """What to do when a key has been stolen."""
    keys = KeyFolder(folder, "ES256", LIFETIME)
    old = keys.signing(clock.time)
    new = made(folder, clock.time)
    key_path(folder, old).unlink()
    clock.advance(CHECK_SECONDS)
    assert keys.signing(clock.time).kid == new.kid, "it has not begun, but there is no other"
    assert kids(keys.accepted(clock.time)) == [new.kid]


def test_clock_that_is_set_back_uses_the_older_key(folder: Path, clock: FakeClock) -> None:
    keys = KeyFolder(folder, "ES256", LIFETIME)
    new = made(folder, clock.time)
    assert keys.signing(clock.time + AHEAD).kid == new.kid
    assert keys.signing(clock.time).kid != new.kid
    assert keys.signing(0).kid != new.kid


def test_keys_for_other_algorithms_are_ignored(folder: Path, clock: FakeClock) -> None:
    before = KeyFolder(folder, "ES256", LIFETIME).signing(clock.time)
    made(folder, clock.time, "EdDSA")
    assert kids(KeyFolder(folder, "ES256", LIFETIME).accepted(clock.time)) == [before.kid]
    with pytest.raises(ConfigError, match="no key for HS256"):
        KeyFolder(folder, "HS256", LIFETIME)


def test_folder_with_an_invalid_key_cannot_be_opened(tmp_path: Path, folder: Path) -> None:
    (folder / "bad.jwk").write_text("{")
    (folder / "bad.jwk").chmod(0o600)
    for place in (folder, tmp_path / "nowhere"):
        with pytest.raises(ConfigError):
            KeyFolder(place, "ES256", LIFETIME)


def test_rotate_refuses_a_second_next_key(folder: Path, clock: FakeClock) -> None:
    new = made(folder, clock.time)
    files = sorted(folder.iterdir())
    with pytest.raises(ConfigError, match=f"{new.kid}, exists already and signs in 60 s"):
        made(folder, clock.time)
    assert sorted(folder.iterdir()) == files
    clock.advance(AHEAD)
    assert made(folder, clock.time).kid != new.kid


def test_first_key_of_a_folder_signs_immediately(tmp_path: Path, clock: FakeClock) -> None:
    [only] = rotate(tmp_path / "keys", "ES256", clock.time, lifetime=LIFETIME)
    assert (only.state, only.until, only.file.not_before) == (KeyState.SIGNING, None, 0)
    assert "nbf" not in json.loads(only.file.path.read_text())
    second = made(tmp_path / "keys", clock.time, publish_before=0)
    assert load_keys(tmp_path / "keys", clock.time)[0].kid == second.kid


def test_remove_retired_deletes_only_retired_keys(folder: Path, clock: FakeClock) -> None:
    made(folder, clock.time, publish_before=0)
    clock.advance(LIFETIME + LEEWAY - 1)
    planned = rotate(folder, "ES256", clock.time, lifetime=LIFETIME)
    assert [one.state for one in planned] == [KeyState.RETIRING, KeyState.SIGNING, KeyState.NEXT]
    assert remove_retired(planned) == []
    clock.advance(10_000)
    planned = rotate(folder, "ES256", clock.time, lifetime=LIFETIME)
    gone = [one.file.path for one in planned[:2]]
    assert [file.path for file in remove_retired(planned)] == gone
    assert sorted(folder.iterdir()) == sorted(one.file.path for one in planned[2:])
    assert remove_retired(planned), "gone already is as good"


def test_forged_token_with_a_known_kid_is_rejected(folder: Path, clock: FakeClock) -> None:
    keys = KeyFolder(folder, "ES256", LIFETIME)
    forged = Issuer(Key.generate("ES256", kid=keys.signing(clock.time).kid), clock=clock.now).issue("eve")
    with pytest.raises(BadSignature):
        Verifier(keys.accepted, algorithms=["ES256"]).verify(forged, clock.time)
