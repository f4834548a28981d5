"""A folder of keys that can be rotated while servers use them."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass
from math import inf
from pathlib import Path

from roomkey.core.key_set import KeySet
from roomkey.core.keys import Key
from roomkey.errors import ConfigError
from roomkey.keysets.files import KeyFile, is_key_file, key_path, load_key_files, make_folder, save_key, stamp
from roomkey.keysets.rotation import PUBLISH_BEFORE, KeyPlan, KeyState, plan

__all__ = ["KeyFolder", "remove_retired", "rotate"]

LOG = logging.getLogger("roomkey.keys")
CHECK_SECONDS = 1.0
"""Seconds between two checks of the folder for changes."""
RETRY_SECONDS = 10.0
"""Seconds until an unreadable folder is read again, even if nothing in it has changed."""


@dataclass(frozen=True, slots=True)
class _CurrentKeys:
    """The keys from ``since`` to ``until``, in seconds since the epoch."""

    since: float
    until: float
    signing: Key
    accepted: KeySet


class KeyFolder:
    """Provide the current keys of a folder: :meth:`signing` for an ``Issuer``, :meth:`accepted` for a ``Verifier``.

    When a key is needed, and at most once a second, the folder is checked for changes and read again if it has
    changed. If it cannot be read or has no key for the algorithm any more, the keys that were read before stay in use.
    The error is logged once, and :attr:`problem` contains it until the folder can be read again.

    Args:
        folder: as for :func:`roomkey.keysets.files.load_key_files`.
        algorithm: the algorithm that signs tokens; keys for other algorithms are ignored.
        lifetime: the maximum lifetime of the tokens, in seconds.

    Attributes:
        problem: why the folder cannot be read, or None.

    Raises:
        ConfigError: the folder cannot be read now, or has no key for the algorithm.
    """

    def __init__(self, folder: Path, algorithm: str, lifetime: float) -> None:
        self._folder, self._algorithm, self._lifetime = folder, algorithm, lifetime
        self.problem: str | None = None
        # Taken before the files are read, so that a change during reading is noticed the next time.
        self._fingerprint = _fingerprint(folder)
        self._all: list[KeyFile] = []
        self._files = self._read()
        self._retry_at = inf
        self._current: _CurrentKeys | None = None

    def signing(self, now: float) -> Key:
        """Return the private key that signs new tokens.

        Args:
            now: seconds since the epoch.
        """
        return self._at(now).signing

    def accepted(self, now: float) -> KeySet:
        """Return the keys to verify tokens with and to publish: public keys, or shared secrets for HS* algorithms.

        Args:
            now: seconds since the epoch.
        """
        return self._at(now).accepted

    def _at(self, now: float) -> _CurrentKeys:
        current = self._current
        if current is None or not current.since <= now < current.until:
            current = self._current = self._refresh(now)
        return current

    def _refresh(self, now: float) -> _CurrentKeys:
        self._reread(now)
        planned = plan(self._files, now, self._lifetime)
        ends = (one.until for one in planned if one.until is not None and one.until > now)
        return _CurrentKeys(
            since=now,
            until=min(now + CHECK_SECONDS, *ends, inf),
            signing=next(one.file.key for one in planned if one.state is KeyState.SIGNING),
            accepted=KeySet(one.file.verifying for one in planned if one.state is not KeyState.RETIRED),
        )

    def _reread(self, now: float) -> None:
        fingerprint = _fingerprint(self._folder)
        if fingerprint == self._fingerprint and now < self._retry_at:
            return
        self._fingerprint = fingerprint
        try:
            self._files, self._retry_at = self._read(), inf
        except ConfigError as error:
            self._retry_at = now + RETRY_SECONDS
            if self.problem != str(error):
                LOG.error("cannot read the keys: %s; the previous keys stay in use", error)
            self.problem = str(error)
            return
        self.problem = None
        LOG.info("read %s: %s", self._folder, ", ".join(file.key.kid for file in self._files))

    def _read(self) -> list[KeyFile]:
        self._all = load_key_files(self._folder, known=self._all)
        files = [file for file in self._all if self._algorithm in file.key.algorithms]
        if not files:
            command = f"roomkey keys new --algorithm {self._algorithm}"
            raise ConfigError(f"no key for {self._algorithm} in {self._folder}; create one with `{command}`")
        for file in files:
            file.verifying  # noqa: B018 - derived now, so that no token has to wait
        return files


def rotate(
    folder: Path, algorithm: str, now: float, *, lifetime: float, publish_before: float = PUBLISH_BEFORE
) -> list[KeyPlan]:
    """Generate the next signing key. The states of the other keys follow from it: see :mod:`roomkey.keysets.rotation`.

    Args:
        folder: the folder of the keys; it is created if it does not exist.
        algorithm: the algorithm of the new key.
        now: seconds since the epoch.
        lifetime: the maximum lifetime of the tokens, in seconds.
        publish_before: seconds until the new key signs; the first key of a folder signs immediately.

    Returns:
        The keys for the algorithm and their states; the new key is the last.

    Raises:
        ConfigError: a next key exists already, the algorithm is unknown, or as for
            :func:`roomkey.keysets.files.load_key_files`.
    """
    files = [file for file in load_key_files(folder) if algorithm in file.key.algorithms]
    for one in plan(files, now, lifetime):
        if one.state is KeyState.NEXT:
            raise ConfigError(
                f"cannot rotate: the next key, {one.file.key.kid}, exists already and signs in "
                f"{one.file.not_before - now:.0f} s; wait, or delete {one.file.path}"
            )
    key = Key.generate(algorithm)
    make_folder(folder)
    path = key_path(folder, key)
    # Whole seconds, as in tokens; rounded down, so that a key without a delay signs in the current second.
    not_before = int(now + publish_before) if files else 0
    save_key(key, path, not_before or None)
    return plan([*files, KeyFile(path, key, not_before, now)], now, lifetime)


def remove_retired(planned: Iterable[KeyPlan]) -> list[KeyFile]:
    """Delete the files of retired keys, which are neither published nor accepted.

    Args:
        planned: the result of :func:`roomkey.keysets.rotation.plan`.

    Returns:
        The deleted files.

    Raises:
        ConfigError: a file cannot be deleted.
    """
    retired = [one.file for one in planned if one.state is KeyState.RETIRED]
    for file in retired:
        try:
            file.path.unlink(missing_ok=True)
        except OSError as error:
            raise ConfigError(f"cannot delete {file.path}: {error.strerror}") from None
    return retired


def _fingerprint(folder: Path) -> object:
    """Return a value that changes if a file of the folder is added, deleted or replaced, or its permissions change."""
    try:
        with os.scandir(folder) as entries:
            files = sorted((entry.name, *stamp(entry.stat())) for entry in entries if is_key_file(entry.name))
        return folder.stat().st_mode, files
    except OSError as error:
        return error.errno
