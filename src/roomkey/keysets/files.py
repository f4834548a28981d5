"""Keys in files and in the environment: private JSON Web Keys (RFC 7517) that only their owner can read.

A key file is written once and never changed. It appears under its name complete or not at all, so that a crash or a
full disk leaves no partial key. An existing file is never replaced, because if a key is lost, every token that it
signed stops working. The time from which a key signs is therefore written into the file when the key is generated, as
its member ``nbf`` ("not before", with the name and the unit of the claim in RFC 7519 section 4.1.5; a JWK can have
additional members, RFC 7517 section 4). It is not published.
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
from roomkey.core.key_set import KeySet
from roomkey.core.keys import Key
from roomkey.errors import ConfigError

__all__ = [
    "KEY",
    "KeyFile",
    "environment_key",
    "in_signing_order",
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
"""The environment variable that can contain the signing key."""


@dataclass(frozen=True)
class KeyFile:
    """A private key in a file.

    Attributes:
        path: the file.
        key: the key.
        not_before: when the key begins to sign (``nbf``), in seconds since the epoch; 0 means immediately.
        written: when the file was written, in seconds since the epoch.
        stamp: a value that changes if the file's content, owner or permissions change.
    """

    path: Path
    key: Key
    not_before: float
    written: float
    stamp: tuple[int, ...] = ()

    @property
    def signs_from(self) -> float:
        """When the key begins to sign: at its ``nbf`` or, if it has none, when its file was written."""
        return self.not_before or self.written

    @cached_property
    def verifying(self) -> Key:
        """The key that verifies its signatures. It is derived once, because that takes a while."""
        return self.key.verifying()


def in_signing_order(files: Iterable[KeyFile]) -> list[KeyFile]:
    """Sort keys by the time at which they begin to sign. Keys without ``nbf`` come first, by the age of their files."""
    return sorted(files, key=lambda file: (file.not_before, file.written, file.path.name))


def write_private(path: Path, data: bytes) -> None:
    """Write a new file that only its owner can read (mode 0600), completely or not at all.

    Args:
        path: the new file; its folder must exist.
        data: the content.

    Raises:
        ConfigError: the file exists already, or cannot be written.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        # The file is created with its mode in one call, so that others can never open it.
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        # Unlike a rename, a hard link fails if the name is taken.
        os.link(draft, path)
    except FileExistsError:
        raise ConfigError(f"cannot write {path}: the file exists; choose another name, or move the file away") from None
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from None
    finally:
        with contextlib.suppress(FileNotFoundError):
            draft.unlink()


def read_private(path: Path) -> bytes:
    """Read a file that contains a secret, and check that only its owner can read it.

    Raises:
        ConfigError: the file is missing, not a regular file, too large, owned by another user or readable by others.
            If a command can repair it, the text contains the command.
    """
    try:
        data = _read_file(path, private=True)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    if len(data) > MAX_KEY_FILE:
        raise ConfigError(f"{path} is not a key file: it is larger than {MAX_KEY_FILE} bytes")
    return data


def save_key(key: Key, path: Path, not_before: int | None = None) -> None:
    """Write a private key as a JWK.

    Args:
        path: the new file.
        not_before: when the key begins to sign, in seconds since the epoch; None means immediately.

    Raises:
        ConfigError: as for :func:`write_private`, or the key is public.
    """
    members = key.to_jwk(private=True) | ({} if not_before is None else {"nbf": not_before})
    write_private(path, json.dumps(members, indent=2).encode() + b"\n")


def load_key(path: Path) -> Key:
    """Read a private key, a JWK or PEM.

    Raises:
        ConfigError: as for :func:`read_private`, or the file does not contain a usable private key.
    """
    return _parse_private(read_private(path), str(path))[0]


def environment_key(algorithm: str | None = None) -> Key | None:
    """Return the private key in ``ROOMKEY_KEY``, a JWK or PEM, or None if the variable is not set or empty.

    Args:
        algorithm: the algorithm that the key must support. By default, any.

    Raises:
        ConfigError: the variable does not contain a usable private key. The text does not contain its value.
    """
    value = os.environ.get(KEY)
    if not value:
        return None
    key, _ = _parse_private(value.encode(errors="replace"), KEY)
    if algorithm is not None and algorithm not in key.algorithms:
        raise ConfigError(f"the key in {KEY} is for {', '.join(key.algorithms)}, not {algorithm}")
    return key


def load_key_set(path: Path) -> KeySet:
    """Read keys that verify tokens: a JWK, a JWK Set (RFC 7517 section 5) or PEM, public or private.

    Raises:
        ConfigError: the file cannot be read, contains no key, or contains a private key that others can read.
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
        known: files that were read before. A file that has not changed is not read again (50 ms for an RSA key).

    Returns:
        The keys. The list is empty if the folder does not exist or contains no key.

    Raises:
        ConfigError: others can read the folder or a file, a file does not contain a key, or two keys have the same
            ``kid``. A key that cannot be read is never skipped, because its tokens would be rejected silently.
    """
    before = {(file.path, file.stamp): file for file in known}
    try:
        if not folder.exists():
            return []
        if not folder.is_dir():
            raise ConfigError(f"{folder} is not a folder; set `keys` to the folder of the key files")
        _check_private(folder, folder.stat(), 0o700)
        files = [before.get((path, stamp(path.stat()))) or _load_key_file(path) for path in _key_files(folder)]
    except OSError as error:
        raise ConfigError(f"cannot read the keys in {folder}: {error.strerror}") from None
    for kid, uses in Counter(file.key.kid for file in files).items():
        if uses > 1:
            same = " and ".join(str(file.path) for file in files if file.key.kid == kid)
            raise ConfigError(f"{same} have the same kid; delete one of them")
    return in_signing_order(files)


def load_keys(folder: Path, now: float | None = None) -> list[Key]:
    """Read every key of a folder: first the signing key, then the keys before it, then those that do not sign yet.

    Args:
        folder: as for :func:`load_key_files`.
        now: seconds since the epoch. By default, the system's time.

    Raises:
        ConfigError: as for :func:`load_key_files`.
    """
    files, at = load_key_files(folder), time.time() if now is None else now
    begun = [file.key for file in files if file.not_before <= at]
    return [*reversed(begun), *(file.key for file in files if not file.not_before <= at)]


def load_or_create(folder: Path, algorithm: str) -> KeySet:
    """Read the keys of a folder. If it has none for the algorithm, create the folder and generate a first key.

    Args:
        folder: as for :func:`load_keys`.
        algorithm: the algorithm that signs new tokens, such as ``ES256`` (RFC 7518 section 3.1).

    Raises:
        ConfigError: as for :func:`load_keys`, or the algorithm is unknown.
    """
    keys = load_keys(folder)
    if not any(algorithm in key.algorithms for key in keys):
        key = Key.generate(algorithm)
        make_folder(folder)
        save_key(key, key_path(folder, key))
        keys.insert(0, key)
    return KeySet(keys)


def make_folder(folder: Path) -> None:
    """Create a folder for keys with mode 0700, if it does not exist.

    Raises:
        ConfigError: the folder cannot be created.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot create the folder {folder}: {error.strerror}") from None


def key_path(folder: Path, key: Key) -> Path:
    """Return the path of a key's file in a folder of keys; the ``kid`` is unique."""
    return folder / f"{key.kid}{SUFFIX}"


def signing_key(keys: KeySet, algorithm: str) -> Key:
    """Return the key that signs new tokens: the first private key for the algorithm, in the order of :func:`load_keys`.

    Raises:
        ConfigError: the set contains no such key.
    """
    for key in keys:
        if algorithm in key.algorithms and key.is_private:
            return key
    raise ConfigError(f"no private key for {algorithm}; create one with `roomkey keys new --algorithm {algorithm}`")


def stamp(found: os.stat_result) -> tuple[int, ...]:
    """Return a value that changes if a file is replaced or written to, or if its owner or permissions change."""
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_mode, found.st_uid


def is_key_file(name: str) -> bool:
    """Return True for the name of a key file. Hidden files are the drafts of :func:`write_private`."""
    return name.endswith(SUFFIX) and not name.startswith(".")


def _key_files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if is_key_file(path.name))


def _read_file(path: Path, *, private: bool) -> bytes:
    """Read a regular file, up to one byte more than the limit of a key file.

    Raises:
        ConfigError: the path is not a regular file (reading a named pipe would block), or others can access a file
            that must be private.
        OSError: the file cannot be read.
    """
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0))) as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise ConfigError(f"{path} is not a regular file")
        if private:
            _check_private(path, found, 0o600)
        return file.read(MAX_KEY_FILE + 1)


def _check_private(path: Path, found: os.stat_result, wanted: int) -> None:
    """Check that only the owner can read or replace a file or a folder."""
    if os.name != "posix":  # on Windows, st_mode is 0666 for every file
        return
    if found.st_uid not in (os.geteuid(), 0):
        raise ConfigError(f"{path} belongs to another user (uid {found.st_uid}); run: chown {os.geteuid()} {path}")
    if found.st_mode & 0o077:
        mode = stat.S_IMODE(found.st_mode)
        raise ConfigError(f"others can read {path} (mode {mode:04o}); run: chmod {wanted:o} {path}")


def _load_key_file(path: Path) -> KeyFile:
    found = path.stat()  # before the file is read, so that a change during reading is noticed the next time
    key, not_before = _parse_private(read_private(path), str(path))
    return KeyFile(path, key, not_before, found.st_mtime_ns / 1e9, stamp(found))


def _parse_private(data: bytes, named: str) -> tuple[Key, float]:
    """Return a private key and its ``nbf``. Errors name its source and contain nothing of the key."""
    try:
        members = None if b"-----BEGIN" in data else _json_object(data)
        key = Key.from_pem(data) if members is None else Key.from_jwk(members)
        not_before = 0.0 if members is None else _not_before(members.get("nbf", 0))
    except ConfigError as error:
        raise ConfigError(f"{named}: {error}") from None
    if not key.is_private:
        raise ConfigError(f"{named} contains a public key; a private key is required to sign tokens")
    return key, not_before


def _not_before(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= LAST_SECOND:
        raise ConfigError("nbf must be a time in seconds since the epoch")
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
        raise ConfigError("a JSON Web Key must be a JSON object")
    return value
