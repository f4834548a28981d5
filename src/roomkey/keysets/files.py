"""Keys in files: private JSON Web Keys (RFC 7517) that only their owner can read.

A key file is written once and never changed. It appears under its name complete or not at all, so that a crash or
a full disk leaves no half key, and an existing file is never replaced: losing a key means that every token it
signed stops working.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from roomkey.core.keys import Key, KeySet
from roomkey.errors import ConfigError

__all__ = [
    "load_key",
    "load_key_set",
    "load_keys",
    "load_or_create",
    "read_private",
    "save_key",
    "signing_key",
    "write_private",
]

MAX_KEY_FILE = 256 * 1024
SUFFIX = ".jwk"


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
        ConfigError: absent, no ordinary file, too large, or readable by others; the text names the command to run.
    """
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ConfigError(f"{path} is not a file")
            _check_mode(path, status.st_mode, 0o600)
            data = file.read(MAX_KEY_FILE + 1)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    if len(data) > MAX_KEY_FILE:
        raise ConfigError(f"{path} is larger than {MAX_KEY_FILE} bytes: this is no key file")
    return data


def save_key(key: Key, path: Path) -> None:
    """Write a private key as a JWK.

    Raises:
        ConfigError: as :func:`write_private`, or the key is public.
    """
    write_private(path, json.dumps(key.to_jwk(private=True), indent=2).encode() + b"\n")


def load_key(path: Path) -> Key:
    """Read one private key: a JWK, or PEM.

    Raises:
        ConfigError: as :func:`read_private`, or the file is not a usable private key.
    """
    data = read_private(path)
    try:
        key = Key.from_pem(data) if b"-----BEGIN" in data else Key.from_jwk(_json_object(data))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    if not key.is_private:
        raise ConfigError(f"{path} holds a public key, and a private one is needed to sign tokens")
    return key


def load_key_set(path: Path) -> KeySet:
    """Read keys to verify with: a JWK, a JWK Set (RFC 7517 section 5) or PEM, public or private.

    Raises:
        ConfigError: unreadable, no key, or a private key that others can read.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_KEY_FILE + 1)
        keys = _parse_key_set(data)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    if any(key.is_private for key in keys):
        read_private(path)
    return keys


def load_keys(folder: Path) -> list[Key]:
    """Read every key of a folder, the newest first.

    Args:
        folder: a folder of mode 0700 with ``*.jwk`` files of mode 0600.

    Returns:
        The keys; none if there is no folder or no key in it.

    Raises:
        ConfigError: the folder or a file is open to others, or a file is not a key. A key that cannot be read is
            never skipped: the tokens it signed would be refused without a word.
    """
    if not folder.exists():
        return []
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder; `keys` names the folder of the key files")
    _check_mode(folder, folder.stat().st_mode, 0o700)
    files = sorted(_key_files(folder), key=lambda path: (-path.stat().st_mtime_ns, path.name))
    return [load_key(path) for path in files]


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
    """The key that signs new tokens: the newest for the algorithm.

    Raises:
        ConfigError: there is none.
    """
    for key in keys:
        if algorithm in key.algorithms and key.is_private:
            return key
    raise ConfigError(f"no private key for {algorithm}; make one: roomkey keys new --algorithm {algorithm}")


def _key_files(folder: Path) -> Iterator[Path]:
    # Hidden names are the drafts of write_private.
    return (path for path in folder.iterdir() if path.suffix == SUFFIX and not path.name.startswith("."))


def _check_mode(path: Path, mode: int, wanted: int) -> None:
    # Windows has no such bits: st_mode says 0666 of every file there.
    if os.name == "posix" and mode & 0o077:
        raise ConfigError(f"{path} can be read by others (mode {stat.S_IMODE(mode):04o}): chmod {wanted:o} {path}")


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
