"""Keys in files and in the environment: private JSON Web Keys (RFC 7517) that only their owner can read.

A key file is written once and never changed. It appears under its name complete or not at all, so that a crash or
a full disk leaves no half key, and an existing file is never replaced: losing a key means that every token it
signed stops working. So the time from which a key signs is written into it when it is made, as its member ``nbf``
("not before", named and counted like the claim of RFC 7519 section 4.1.5; a JWK may have members of its own, RFC 7517
section 4). It is not published.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import stat
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from roomkey.core.claims import LAST_SECOND
from roomkey.core.keys import Key, KeySet
from roomkey.errors import ConfigError

__all__ = [
    "KEY",
    "KeyFile",
    "by_age",
    "environment_key",
    "is_key_file",
    "load_key",
    "load_key_files",
    "load_key_set",
    "load_keys",
    "load_or_create",
    "read_private",
    "save_key",
    "signing_key",
    "stamp",
    "write_private",
]

MAX_KEY_FILE = 256 * 1024
SUFFIX = ".jwk"
KEY = "ROOMKEY_KEY"
"""The environment variable that may hold the signing key."""


@dataclass(frozen=True)
class KeyFile:
    """A private key in a file.

    Attributes:
        path: the file.
        key: the key.
        not_before: when it begins to sign (``nbf``), in seconds since the epoch; 0 is from the beginning.
        written: when the file was written, in seconds since the epoch.
        stamp: changes whenever the file does, or who can read it.
    """

    path: Path
    key: Key
    not_before: float
    written: float
    stamp: tuple[int, ...] = ()

    @property
    def signs_from(self) -> float:
        """When it began to sign: as its ``nbf`` says, and without one not before it was there."""
        return self.not_before or self.written

    @cached_property
    def verifying(self) -> Key:
        """What its signatures are verified with; made once, because reading a key takes a while."""
        return self.key.verifying()


def by_age(files: Iterable[KeyFile]) -> list[KeyFile]:
    """Keys in the order in which they begin to sign; those without ``nbf`` come first, as their files were written."""
    return sorted(files, key=lambda file: (file.not_before, file.written, file.path.name))


def write_private(path: Path, data: bytes) -> None:
    """Write a new file that only its owner can read (mode 0600), whole or not at all.

    Args:
        path: where to; its folder must exist, the file must not.
        data: what to write.

    Raises:
        ConfigError: the file is there already, or the folder cannot be written to.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        # O_EXCL and the mode in one call: there is no moment in which others could open it.
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        # A hard link, unlike a rename, fails where the name is taken.
        os.link(draft, path)
    except FileExistsError:
        raise ConfigError(f"{path} exists and is not overwritten: choose another name, or move it away") from None
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from None
    finally:
        with contextlib.suppress(FileNotFoundError):
            draft.unlink()


def read_private(path: Path) -> bytes:
    """Read a file with a secret in it, if nobody but its owner can.

    Raises:
        ConfigError: absent, no ordinary file, too large, of another user, or readable by others; the text names the
            command to run.
    """
    try:
        data = _read_file(path, private=True)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    if len(data) > MAX_KEY_FILE:
        raise ConfigError(f"{path} is larger than {MAX_KEY_FILE} bytes: this is no key file")
    return data


def save_key(key: Key, path: Path, not_before: int | None = None) -> None:
    """Write a private key as a JWK.

    Args:
        path: the new file.
        not_before: when it begins to sign, in seconds since the epoch; None is from the beginning.

    Raises:
        ConfigError: as :func:`write_private`, or the key is public.
    """
    members = key.to_jwk(private=True) | ({} if not_before is None else {"nbf": not_before})
    write_private(path, json.dumps(members, indent=2).encode() + b"\n")


def load_key(path: Path) -> Key:
    """Read one private key: a JWK, or PEM.

    Raises:
        ConfigError: as :func:`read_private`, or the file is not a usable private key.
    """
    return _parse_private(read_private(path), str(path))[0]


def environment_key(algorithm: str | None = None) -> Key | None:
    """The private key in ``ROOMKEY_KEY``, a JWK or PEM; None if the variable is absent or empty.

    Args:
        algorithm: that it has to be for; any if absent.

    Raises:
        ConfigError: not a usable private key; the text does not show what the variable holds.
    """
    value = os.environ.get(KEY)
    if not value:
        return None
    key, _ = _parse_private(value.encode(errors="replace"), KEY)
    if algorithm is not None and algorithm not in key.algorithms:
        raise ConfigError(f"the key in {KEY} is for {', '.join(key.algorithms)}, not {algorithm}")
    return key


def load_key_set(path: Path) -> KeySet:
    """Read keys to verify with: a JWK, a JWK Set (RFC 7517 section 5) or PEM, public or private.

    Raises:
        ConfigError: unreadable, no key, or a private key that others can read.
    """
    try:
        keys = _parse_key_set(_read_file(path, private=False))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    if any(key.is_private for key in keys):
        read_private(path)
    return keys


def load_key_files(folder: Path, known: Iterable[KeyFile] = ()) -> list[KeyFile]:
    """Read every key of a folder, in the order in which they begin to sign.

    Args:
        folder: a folder of mode 0700 with ``*.jwk`` files of mode 0600.
        known: what was read before; a file that has not changed is not read again (50 ms for an RSA key).

    Returns:
        The keys; none if there is no folder or no key in it.

    Raises:
        ConfigError: the folder or a file is open to others, a file is not a key, or two keys have one ``kid``. A key
            that cannot be read is never skipped: the tokens it signed would be refused without a word.
    """
    before = {(file.path, file.stamp): file for file in known}
    try:
        if not folder.exists():
            return []
        if not folder.is_dir():
            raise ConfigError(f"{folder} is not a folder; `keys` names the folder of the key files")
        _check_private(folder, folder.stat(), 0o700)
        files = [before.get((path, stamp(path.stat()))) or _load_key_file(path) for path in _key_files(folder)]
    except OSError as error:
        raise ConfigError(f"cannot read the keys in {folder}: {error.strerror}") from None
    for kid, uses in Counter(file.key.kid for file in files).items():
        if uses > 1:
            raise ConfigError(f"{' and '.join(str(file.path) for file in files if file.key.kid == kid)} have one kid")
    return by_age(files)


def load_keys(folder: Path, now: float | None = None) -> list[Key]:
    """Read every key of a folder: the one that signs first, then those before it, then those that are still to come.

    Args:
        folder: as for :func:`load_key_files`.
        now: seconds since the epoch; the system's clock if absent.

    Raises:
        ConfigError: as :func:`load_key_files`.
    """
    files, at = load_key_files(folder), time.time() if now is None else now
    begun = [file.key for file in files if file.not_before <= at]
    return [*reversed(begun), *(file.key for file in files if not file.not_before <= at)]


def load_or_create(folder: Path, algorithm: str) -> KeySet:
    """Read the keys of a folder, and make the folder and a first key where there is none for ``algorithm``.

    Args:
        folder: as for :func:`load_keys`.
        algorithm: what new tokens are signed with, such as ``ES256`` (RFC 7518 section 3.1).

    Raises:
        ConfigError: as :func:`load_keys`, or there is no such algorithm.
    """
    keys = load_keys(folder)
    if not any(algorithm in key.algorithms for key in keys):
        key = Key.generate(algorithm)
        make_folder(folder)
        save_key(key, key_path(folder, key))
        keys.insert(0, key)
    return KeySet(keys)


def make_folder(folder: Path) -> None:
    """Make a folder for keys with mode 0700, if there is none.

    Raises:
        ConfigError: it cannot be made.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot make the folder {folder}: {error.strerror}") from None


def key_path(folder: Path, key: Key) -> Path:
    """Where a key is kept in a folder of keys: under its name, which is unique."""
    return folder / f"{key.kid}{SUFFIX}"


def signing_key(keys: KeySet, algorithm: str) -> Key:
    """The key that signs new tokens: the first for the algorithm, as :func:`load_keys` puts them in order.

    Raises:
        ConfigError: there is none.
    """
    for key in keys:
        if algorithm in key.algorithms and key.is_private:
            return key
    raise ConfigError(f"no private key for {algorithm}; make one: roomkey keys new --algorithm {algorithm}")


def stamp(found: os.stat_result) -> tuple[int, ...]:
    """What changes whenever a file is replaced or written to, changes hands, or others may read it."""
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_mode, found.st_uid


def is_key_file(name: str) -> bool:
    """True for the name of a key's file in a folder of keys; hidden ones are the drafts of :func:`write_private`."""
    return name.endswith(SUFFIX) and not name.startswith(".")


def _key_files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if is_key_file(path.name))


def _read_file(path: Path, *, private: bool) -> bytes:
    """Read an ordinary file, a byte further than a key file may be long.

    Raises:
        ConfigError: it is something else, such as a named pipe, which would let its reader wait; or it has to be
            private, and is not.
        OSError: it cannot be read.
    """
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0))) as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise ConfigError(f"{path} is not an ordinary file")
        if private:
            _check_private(path, found, 0o600)
        return file.read(MAX_KEY_FILE + 1)


def _check_private(path: Path, found: os.stat_result, wanted: int) -> None:
    """Refuse what others can read, or could replace."""
    if os.name != "posix":  # Windows has no such bits: st_mode says 0666 of every file there
        return
    if found.st_uid not in (os.geteuid(), 0):
        raise ConfigError(f"{path} belongs to another user (uid {found.st_uid}): chown {os.geteuid()} {path}")
    if found.st_mode & 0o077:
        mode = stat.S_IMODE(found.st_mode)
        raise ConfigError(f"{path} can be read by others (mode {mode:04o}): chmod {wanted:o} {path}")


def _load_key_file(path: Path) -> KeyFile:
    found = path.stat()  # before it is read: what changes meanwhile is seen the next time
    key, not_before = _parse_private(read_private(path), str(path))
    return KeyFile(path, key, not_before, found.st_mtime_ns / 1e9, stamp(found))


def _parse_private(data: bytes, named: str) -> tuple[Key, float]:
    """A private key and its ``nbf``; errors begin with the name of where it comes from, and show nothing of it."""
    try:
        members = None if b"-----BEGIN" in data else _json_object(data)
        key = Key.from_pem(data) if members is None else Key.from_jwk(members)
        not_before = 0.0 if members is None else _not_before(members.get("nbf", 0))
    except ConfigError as error:
        raise ConfigError(f"{named}: {error}") from None
    if not key.is_private:
        raise ConfigError(f"{named} holds a public key, and a private one is needed to sign tokens")
    return key, not_before


def _not_before(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= LAST_SECOND:
        raise ConfigError("nbf is a time in seconds since the epoch")
    return value


def _parse_key_set(data: bytes) -> KeySet:
    if b"-----BEGIN" in data:
        return KeySet.from_pem(data)
    members = _json_object(data)
    return KeySet.from_jwks(members, allow_symmetric=True) if "keys" in members else KeySet([Key.from_jwk(members)])


def _json_object(data: bytes) -> dict[str, object]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        raise ConfigError("neither a JSON Web Key nor PEM") from None
    if not isinstance(value, dict):
        raise ConfigError("a JSON Web Key is a JSON object")
    return value
