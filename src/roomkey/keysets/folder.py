"""A folder of keys that are rotated while servers use them."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass
from math import inf
from pathlib import Path

from roomkey.core.keys import Key, KeySet
from roomkey.errors import ConfigError
from roomkey.keysets.files import KeyFile, is_key_file, key_path, load_key_files, make_folder, save_key, stamp
from roomkey.keysets.rotation import PUBLISH_BEFORE, KeyPlan, State, plan

__all__ = ["KeyFolder", "remove_retired", "rotate"]

LOG = logging.getLogger("roomkey.keys")
LOOK_EVERY = 1.0
"""Seconds between two looks at the folder."""
TRY_AGAIN = 10.0
"""Seconds until a folder that could not be read is read again although nothing has changed in it."""


@dataclass(frozen=True, slots=True)
class _View:
    """What holds from ``since`` to ``until``, in seconds since the epoch."""

    since: float
    until: float
    signing: Key
    accepted: KeySet


class KeyFolder:
    """The keys of a folder as they are now: give :meth:`signing` to an ``Issuer``, :meth:`accepted` to a ``Verifier``.

    It looks at the folder when it is used, at most once a second, and reads it again when it has changed. A folder
    that cannot be read, or has no key left for the algorithm, changes nothing: the keys that were read before stay in
    use, the log says so once, and :attr:`problem` as long as it lasts.

    Args:
        folder: as for :func:`roomkey.keysets.files.load_key_files`.
        algorithm: what tokens are signed with; keys for others are left alone.
        lifetime: of the tokens that live longest, in seconds.

    Attributes:
        problem: why the folder cannot be read, or None.

    Raises:
        ConfigError: it cannot be read now, or there is no key for the algorithm.
    """

    def __init__(self, folder: Path, algorithm: str, lifetime: float) -> None:
        self._folder, self._algorithm, self._lifetime = folder, algorithm, lifetime
        self.problem: str | None = None
        # Before the files are read: what changes meanwhile is then read again.
        self._seen = _fingerprint(folder)
        self._all: list[KeyFile] = []
        self._files = self._read()
        self._try_again = inf
        self._view: _View | None = None

    def signing(self, now: float) -> Key:
        """The private key that signs new tokens.

        Args:
            now: seconds since the epoch.
        """
        return self._at(now).signing

    def accepted(self, now: float) -> KeySet:
        """The keys to verify with, and to publish: public halves, or shared secrets where the algorithm is HS*.

        Args:
            now: seconds since the epoch.
        """
        return self._at(now).accepted

    def _at(self, now: float) -> _View:
        view = self._view
        if view is None or not view.since <= now < view.until:
            view = self._view = self._look(now)
        return view

    def _look(self, now: float) -> _View:
        self._reread(now)
        planned = plan(self._files, now, self._lifetime)
        ends = (one.until for one in planned if one.until is not None and one.until > now)
        return _View(
            since=now,
            until=min(now + LOOK_EVERY, *ends, inf),
            signing=next(one.file.key for one in planned if one.state is State.SIGNING),
            accepted=KeySet(one.file.verifying for one in planned if one.state is not State.RETIRED),
        )

    def _reread(self, now: float) -> None:
        seen = _fingerprint(self._folder)
        if seen == self._seen and now < self._try_again:
            return
        self._seen = seen
        try:
            self._files, self._try_again = self._read(), inf
        except ConfigError as error:
            self._try_again = now + TRY_AGAIN
            if self.problem != str(error):
                LOG.error("%s; the keys that were read before stay in use", error)
            self.problem = str(error)
            return
        self.problem = None
        LOG.info("read %s: %s", self._folder, ", ".join(file.key.kid for file in self._files))

    def _read(self) -> list[KeyFile]:
        self._all = load_key_files(self._folder, known=self._all)
        files = [file for file in self._all if self._algorithm in file.key.algorithms]
        if not files:
            make = f"roomkey keys new --algorithm {self._algorithm}"
            raise ConfigError(f"no key for {self._algorithm} in {self._folder}; make one: {make}")
        for file in files:
            file.verifying  # noqa: B018 - made now, so that no token waits for it
        return files


def rotate(
    folder: Path, algorithm: str, now: float, *, lifetime: float, publish_before: float = PUBLISH_BEFORE
) -> list[KeyPlan]:
    """Make the key that signs next. The key before it follows from it: see :mod:`roomkey.keysets.rotation`.

    Args:
        folder: of the keys; made if there is none.
        algorithm: that the key is for.
        now: seconds since the epoch.
        lifetime: of the tokens that live longest, in seconds.
        publish_before: seconds until the new key signs; the first key of a folder signs from the beginning.

    Returns:
        The keys for the algorithm and what they are doing now, the new one last.

    Raises:
        ConfigError: a next key is waiting already, there is no such algorithm, or as
            :func:`roomkey.keysets.files.load_key_files`.
    """
    files = [file for file in load_key_files(folder) if algorithm in file.key.algorithms]
    for one in plan(files, now, lifetime):
        if one.state is State.NEXT:
            raise ConfigError(
                f"key {one.file.key.kid} is waiting already and signs in {one.file.not_before - now:.0f} s; "
                f"if it is not to, delete {one.file.path}"
            )
    key = Key.generate(algorithm)
    make_folder(folder)
    path = key_path(folder, key)
    # Whole seconds, as in every token; rounded down, so that a key without a wait signs in this very second.
    not_before = int(now + publish_before) if files else 0
    save_key(key, path, not_before or None)
    return plan([*files, KeyFile(path, key, not_before, now)], now, lifetime)


def remove_retired(planned: Iterable[KeyPlan]) -> list[KeyFile]:
    """Delete the files of the keys that are neither published nor accepted any more.

    Args:
        planned: as :func:`roomkey.keysets.rotation.plan` made it.

    Returns:
        What was deleted.

    Raises:
        ConfigError: a file cannot be deleted.
    """
    retired = [one.file for one in planned if one.state is State.RETIRED]
    for file in retired:
        try:
            file.path.unlink(missing_ok=True)
        except OSError as error:
            raise ConfigError(f"cannot delete {file.path}: {error.strerror}") from None
    return retired


def _fingerprint(folder: Path) -> object:
    """What changes whenever a file of the folder is added, taken away, replaced, or opened to others."""
    try:
        with os.scandir(folder) as entries:
            files = sorted((entry.name, *stamp(entry.stat())) for entry in entries if is_key_file(entry.name))
        return folder.stat().st_mode, files
    except OSError as error:
        return error.errno
