"""The journal in Redis or Valkey: what must reach every server, even one that was cut off.

It is one stream. Its entries are numbered ``0-1``, ``0-2``, …, independently of any clock. The first one is a random
epoch. A read is one transaction: the first entry, the entry at the reader's position, and those after it. So a reader
notices if the stream was flushed, evicted, trimmed, or restored from an older state, even if others have written to it
since. The guard then reads everything again, and writes back what it knows.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets as random_names
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from roomkey.bus.journal_entries import Dropped, EntryFormat
from roomkey.bus.redis_calls import CALL_SECONDS, Calls, Words
from roomkey.bus.redis_connections import Connections
from roomkey.bus.secrets import ClusterSecrets, secrets_of
from roomkey.core.revocations import MARGIN, HybridClock, JournalPart, Revocation
from roomkey.errors import Unavailable

__all__ = ["RedisJournal"]

LOG = logging.getLogger("roomkey.bus")

PROBE_SECONDS = 1.0
"""How often a read includes a write: a Redis that refuses writes counts as unavailable."""

COUNT = 500
"""Entries of one read."""

CHECK_BITS = 20
"""Bits of a position that say which entry is there. A position stays below 2**53, for readers in JavaScript."""

ATTEMPTS = 5

_REMEDIES = {"bad signature": "; give all servers the same secrets"}


@dataclass(frozen=True, slots=True)
class _Entry:
    """One entry of the stream.

    Attributes:
        number: the second part of its ID.
        is_foreign: the first part is not 0: nothing of roomkey wrote it, and nothing can be written after it.
        fields: names and values.
    """

    id: bytes
    number: int
    is_foreign: bool
    fields: dict[bytes, bytes]

    @classmethod
    def of(cls, answer: Sequence[Any]) -> _Entry:
        id, flat = answer
        first, _, second = id.partition(b"-")
        return cls(id, int(second), first != b"0", dict(zip(flat[::2], flat[1::2], strict=True)))

    def digest(self, epoch: bytes = b"") -> bytes:
        """Return a hash that no other entry has."""
        parts = (epoch, self.id, *_pairs(self.fields))
        return hashlib.blake2b(b"".join(b"%d:%s" % (len(part), part) for part in parts), digest_size=16).digest()


@dataclass(frozen=True, slots=True)
class _Read:
    """The answer to one read.

    Attributes:
        epoch: identifies the first entry.
        first: its number.
        known: the entry at the position that was asked for.
        entries: those after it.
        more: True if there may be more.
    """

    epoch: bytes
    first: int
    known: _Entry | None
    entries: list[_Entry]
    more: bool


class RedisJournal:
    """Keeps revocations in Redis 7.0 or later, or Valkey. Every server reads new entries within milliseconds.

    Redis answers before an entry is on disk. With ``appendfsync everysec``, a crash can lose the last second. The
    servers then write back the entries that at least one of them has read.

    Args:
        connections: opens connections to Redis.
        secrets: the cluster secrets. The journal drops entries that are not signed with one of them.
        name: the name of the cluster.
        clock: seconds since the epoch, for changes of rights that a program makes without a guard.

    Attributes:
        connections: opens connections to Redis.
        counts: the number of entries read and written, and of those dropped, by reason.
        epoch: identifies this journal; it changes when entries were lost. Empty before the first read.
    """

    def __init__(
        self,
        connections: Connections,
        secrets: ClusterSecrets,
        *,
        name: str = "roomkey",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.connections = connections
        self.key = f"{{{name}}}:journal"
        sender = random_names.token_urlsafe(6)
        self._format = EntryFormat(secrets, self.key, sender)
        self._versions = HybridClock(sender)
        self._clock = clock
        self._call = Calls(connections, "the journal in Redis")
        self._wait = Calls(connections, "the journal in Redis")
        self._count = COUNT
        self._seen: tuple[bytes, int, bytes] | None = None  # the epoch, the position, and the entry there
        self._end = 0  # the last entry that read() returned
        self._probed_at = float("-inf")
        self.counts: Counter[str] = Counter()

    @classmethod
    def at(cls, url: str, *, secrets: ClusterSecrets | Sequence[str | bytes], name: str = "roomkey") -> RedisJournal:
        """Return the journal at a URL. Each guard needs its own.

        Args:
            url: ``redis://``, ``rediss://`` (TLS) or ``unix://``, with user name and password if needed; for a cluster,
                ``redis+cluster://``.
            secrets: one secret that all servers share, or two while it is being rotated; see
                :class:`roomkey.bus.ClusterSecrets`.
            name: the name of the cluster. Clusters that share a Redis server need different ones.

        Raises:
            ConfigError: the URL or a secret is not valid.
        """
        return cls(Connections(url, name=f"{name}-journal"), secrets_of(secrets), name=name)

    @property
    def epoch(self) -> str:
        """Identifies this journal; it changes when entries were lost. Empty before the first read."""
        return "" if self._seen is None else self._seen[0].hex()

    async def open(self) -> None:
        """Check that Redis can be reached.

        Raises:
            Unavailable: it cannot, or it is too old.
        """
        [info] = await self._call(("INFO", "server"))
        version = next((line[14:] for line in info.split(b"\r\n") if line.startswith(b"redis_version:")), b"")
        if int(version.split(b".")[0] or 0) < 7:
            LOG.error("the journal requires Redis 7.0 or later, or Valkey; this is Redis %s", version.decode())
            raise Unavailable("the journal in Redis is unavailable (Redis is older than 7.0)")

    async def close(self) -> None:
        """Close the connections."""
        await self._call.close()
        await self._wait.close()

    # Writing

    async def add(self, revoked: Revocation) -> None:
        """Write an entry.

        Raises:
            ConfigError: the entry is too long.
            Unavailable: the entry may or may not be written. Call again; twice is harmless.
        """
        await self.add_all([revoked])

    async def add_all(self, revoked: Sequence[Revocation]) -> None:
        """Write several entries at once.

        Raises:
            ConfigError: an entry is too long.
            Unavailable: some of them may be written. Call again.
        """
        rest = [self._written(entry) for entry in revoked]
        for _ in range(ATTEMPTS):
            answers = await self._append(rest)
            self.counts["written"] += sum(answer is not None for answer in answers)
            rest = [command for command, answer in zip(rest, answers, strict=True) if answer is None]
            if not rest:
                return
            await self._begin()
        raise Unavailable("the journal in Redis was deleted repeatedly; set maxmemory-policy to noeviction")

    async def _append(self, commands: Sequence[Words]) -> list[Any]:
        try:
            return await self._call(*commands)
        except Unavailable as error:  # "The ID specified in XADD is equal or smaller than the target stream top item"
            if "top item" not in str(error.__cause__) or not await self._remove_foreign():
                raise
        return await self._call(*commands)

    def _written(self, revoked: Revocation) -> Words:
        version = revoked.version
        if revoked.kind == "rights" and version is None:
            version = self._versions.next(self._clock())
        text, mac = self._format.write(revoked, version)
        return ("XADD", self.key, "NOMKSTREAM", "0-*", "e", text, "m", mac)

    async def _begin(self) -> None:
        """Begin a journal, because there is none. If others do it at the same time, their epochs follow as entries."""
        await self._call(("XADD", self.key, "0-*", "epoch", random_names.token_urlsafe(16)))

    async def _remove_foreign(self) -> bool:
        """Begin another journal with the entries of this one, if it contains an ID after which none of ours can follow.

        Returns:
            False if it does not.
        """
        [found] = await self._call(("XRANGE", self.key, "1", "+", "COUNT", "1"))
        if not found:
            return False
        self._drop("foreign ID")
        old, start = f"{self.key}:old:{random_names.token_urlsafe(6)}", "-"
        await self._call(("RENAME", self.key, old))  # of several servers, one succeeds
        await self._begin()
        while True:
            [page] = await self._call(("XRANGE", old, start, "+", "COUNT", str(COUNT)))
            ours = [entry for entry in map(_Entry.of, page) if not entry.is_foreign and b"m" in entry.fields]
            if ours:
                copies: list[Words] = [("XADD", self.key, "0-*", *_pairs(entry.fields)) for entry in ours]
                await self._call(*copies)
            if len(page) < COUNT:
                break
            start = f"({page[-1][0].decode()}"
        await self._call(("DEL", old))
        return True

    # Reading

    async def read(self, position: int) -> JournalPart:
        """Return a part of the journal, for the one guard that has this object.

        Args:
            position: the ``position`` of the last part; 0 is the beginning.

        Raises:
            Unavailable: Redis did not respond within a second, or refuses writes.
        """
        found = await self._read(position)
        is_another = not self._is_at(position, found) or (self._seen is not None and self._seen[0] != found.epoch)
        if is_another:
            position, found = 0, await self._read(0)
        if found.entries:
            last = found.entries[-1]
            position, mark = _position(last, found.epoch), last.digest()
        else:
            mark = self._seen[2] if self._seen is not None and not is_another else b""
        self._seen = (found.epoch, position, mark)
        self._end = max(found.first, position >> CHECK_BITS)
        return JournalPart(list(self._checked(found.entries)), position, found.more, is_another)

    def _is_at(self, position: int, found: _Read) -> bool:
        """Return True if the entry at a position is the one that was there."""
        if position == 0:
            return self._seen is None or self._seen[1] == 0
        if found.known is None or _position(found.known, found.epoch) != position:
            return False
        return self._seen is None or self._seen[1] != position or self._seen[2] == found.known.digest()

    async def since(self, position: int) -> tuple[Sequence[Revocation], int]:
        """Return the entries after a position (0 is the beginning), and the new position.

        The result may be only a part. If it is empty, there are no more. If the entry at the position is not the one
        that was there, the result starts at the beginning.

        Raises:
            Unavailable: Redis did not respond within a second, or refuses writes.
        """
        while True:
            found = await self._read(position)
            if position and (found.known is None or _position(found.known, found.epoch) != position):
                position, found = 0, await self._read(0)
            if not found.entries:
                return [], position
            position = _position(found.entries[-1], found.epoch)
            if entries := list(self._checked(found.entries)):
                return entries, position

    async def _read(self, position: int) -> _Read:
        """Read in one transaction, and begin a journal if there is none."""
        number = position >> CHECK_BITS
        for _ in range(ATTEMPTS):
            first, found, more = await self._transaction(number)
            if not first:
                await self._begin()
            elif any(entry.is_foreign for entry in (*first, *found)):
                await self._remove_foreign()
            else:
                known = found[0] if found and found[0].number == number else None
                if found and (known is not None or (found[0] == first[0] and b"epoch" in first[0].fields)):
                    del found[0]
                return _Read(first[0].digest(), first[0].number, known, found, more)
        raise Unavailable("the journal in Redis was deleted repeatedly; set maxmemory-policy to noeviction")

    async def _transaction(self, number: int) -> tuple[list[_Entry], list[_Entry], bool]:
        """Return the first entry, those from a number on, and whether there may be more of them."""
        count = self._count
        commands: list[Words] = [
            ("XRANGE", self.key, "-", "+", "COUNT", "1"),
            ("XRANGE", self.key, f"0-{number}", "+", "COUNT", str(count + 1)),
        ]
        now = time.monotonic()
        is_probe = now - self._probed_at >= PROBE_SECONDS
        if is_probe:
            commands.append(("SET", f"{self.key}:writable", "1", "PX", "60000"))
        self._count = 1  # if the answer is so long that it comes too late
        answers = await self._call(("MULTI",), *commands, ("EXEC",))
        self._count = min(COUNT, count * 4)
        if is_probe:
            self._probed_at = now
        first, found, *_ = answers[-1]
        return [_Entry.of(entry) for entry in first], [_Entry.of(entry) for entry in found], len(found) > count

    def _checked(self, entries: Sequence[_Entry]) -> Iterator[Revocation]:
        """Return the valid entries, and count the others."""
        for entry in entries:
            if b"epoch" in entry.fields:
                continue
            try:
                revoked, _ = self._format.check(entry.fields)
            except Dropped as dropped:
                self._drop(str(dropped))
                continue
            if revoked.version is not None:
                self._versions.saw(revoked.version)
            self.counts["read"] += 1
            yield revoked

    def _drop(self, why: str, number: int = 1) -> None:
        if not self.counts[f"dropped: {why}"]:
            text = "dropped an entry of the journal in Redis: %s%s; more of them are only counted"
            LOG.warning(text, why, _REMEDIES.get(why, ""))
        self.counts[f"dropped: {why}"] += number

    async def has_foreign_entries(self) -> bool:
        """Return True if one of the oldest entries is not signed with one of the secrets. Nothing is written.

        Raises:
            Unavailable: Redis did not respond.
        """
        [found] = await self._call(("XRANGE", self.key, "-", "+", "COUNT", str(COUNT)))
        for entry in map(_Entry.of, found):
            try:
                self._format.check(entry.fields)
            except Dropped as dropped:
                if str(dropped) == "bad signature":
                    return True
        return False

    async def wait(self, seconds: float) -> None:
        """Wait until there may be more after the last part of :meth:`read`, for so many seconds at most.

        Raises:
            Unavailable: Redis did not respond.
        """
        block = str(max(1, int(seconds * 1000)))
        await self._wait(
            ("XREAD", "COUNT", "1", "BLOCK", block, "STREAMS", self.key, f"0-{self._end}"),
            seconds=seconds + CALL_SECONDS,
        )

    async def delete_expired(self, now: float) -> None:
        """Delete entries that no token can match any more, but never the first and the last one.

        This also signs entries again that are signed with the second secret, so that it can be removed.

        Args:
            now: seconds since the epoch.

        Raises:
            Unavailable: Redis did not respond.
        """
        start, skipped = "-", 1
        while True:
            [found] = await self._call(("XRANGE", self.key, start, "+", "COUNT", str(COUNT)))
            entries = [_Entry.of(entry) for entry in found]
            await self._tidy(entries[skipped:], now)
            if len(entries) < COUNT:
                return
            start, skipped = f"({entries[-1].id.decode()}", 0
            await asyncio.sleep(0)

    async def _tidy(self, entries: Sequence[_Entry], now: float) -> None:
        """Delete the entries that have expired, except the last one, and sign those again that need it."""
        expired, old, again = [], [], []
        for entry in entries:
            try:
                revoked, is_current = self._format.check(entry.fields)
            except Dropped:  # it may belong to a secret that this server lacks
                continue
            if revoked.expires_at + MARGIN <= now:
                expired += [entry.id] if entry is not entries[-1] else []
            elif not is_current:
                old.append(entry.id)
                again.append(revoked)
        if again:
            await self.add_all(again)
        if expired or old:
            await self._call(("XDEL", self.key, *expired, *old))


def _pairs(fields: dict[bytes, bytes]) -> list[bytes]:
    return [part for pair in fields.items() for part in pair]


def _position(entry: _Entry, epoch: bytes) -> int:
    check = int.from_bytes(entry.digest(epoch)[:4], "big") & ((1 << CHECK_BITS) - 1)
    return entry.number << CHECK_BITS | check
