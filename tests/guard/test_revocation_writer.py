"""Revocations that could not be kept, or followed, at once."""

from __future__ import annotations

import asyncio

import pytest
from support.live import until

from roomkey.core.revocations import Revocation
from roomkey.errors import ConfigError, Unavailable
from roomkey.guard import revocation_writer
from roomkey.guard.background import Background
from roomkey.guard.clock import SystemClock
from roomkey.guard.revocation_writer import RevocationWriter


class Parts:
    """A journal and a follower; each fails as long as a test says so."""

    def __init__(self) -> None:
        self.failing: dict[str, Exception | None] = {"write": None, "follow": None}
        self.done: list[tuple[str, Revocation]] = []
        self.writer = RevocationWriter(self.write, Background(SystemClock()))
        self.writer.followers.append(self.follow)

    async def write(self, revoked: Revocation) -> None:
        self._do("write", revoked)

    async def follow(self, revoked: Revocation) -> int:
        self._do("follow", revoked)
        return 2

    def _do(self, what: str, revoked: Revocation) -> None:
        if (error := self.failing[what]) is not None:
            raise error
        self.done.append((what, revoked))


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revocation_writer, "RETRY_SECONDS", 0.001)


def subject(before: float) -> Revocation:
    return Revocation("subject", "ada", issued_before=before)


async def test_writer_writes_first_and_counts_what_the_followers_ended() -> None:
    parts = Parts()
    assert await parts.writer.write(subject(5.0)) == 2
    assert parts.done == [("write", subject(5.0)), ("follow", subject(5.0))]


@pytest.mark.checklist("I124")
@pytest.mark.parametrize("what", ["write", "follow"])
async def test_writer_writes_once_when_the_store_is_available_again(what: str) -> None:
    """What took effect here is remembered, and written when the store is back."""
    parts = Parts()
    parts.failing[what] = Unavailable("scripted")
    with pytest.raises(Unavailable):
        await parts.writer.write(subject(5.0))
    await asyncio.sleep(0.01)
    assert len(parts.writer) == 1
    parts.failing[what] = None
    await until(lambda: len(parts.writer) == 0)
    assert parts.done == [("write", subject(5.0)), ("follow", subject(5.0))]


async def test_writer_remembers_the_widest_of_many_requests() -> None:
    parts = Parts()
    parts.failing["write"] = Unavailable("scripted")
    for before in (5.0, 7.0, 6.0):
        with pytest.raises(Unavailable):
            await parts.writer.write(subject(before))
    assert len(parts.writer) == 1
    parts.failing["write"] = None
    await parts.writer.write(subject(6.0))
    await until(lambda: len(parts.writer) == 0)
    assert ("write", subject(7.0)) in parts.done


@pytest.mark.parametrize("is_back", [False, True], ids=["during the outage", "when the store is back"])
async def test_writer_writes_each_of_two_changes_of_one_subject(is_back: bool) -> None:
    """A change of rooms does not take the place of a change of roles that waits for the store."""
    parts = Parts()
    roles = Revocation("rights", "ada", None, 5.0, 100.0, {"roles": []})
    rooms = Revocation("rights", "ada", None, 7.0, 90.0, {"rooms": ["red"]})
    parts.failing["write"] = Unavailable("scripted")
    with pytest.raises(Unavailable):
        await parts.writer.write(roles)
    if is_back:
        parts.failing["write"] = None
        await parts.writer.write(rooms)
    else:
        with pytest.raises(Unavailable):
            await parts.writer.write(rooms)
        parts.failing["write"] = None
    await until(lambda: len(parts.writer) == 0)
    both = Revocation("rights", "ada", None, 7.0, 100.0, {"roles": [], "rooms": ["red"]})
    assert [revoked for what, revoked in parts.done if what == "write"] == ([roles, rooms] if is_back else [both])


async def test_writer_writes_an_earlier_change_before_a_later_one() -> None:
    """Whatever is under way: of two changes, the one that stands last in the journal counts."""
    parts = Parts()
    held = asyncio.Event()
    earlier, later = (Revocation("rights", "ada", None, at, 100.0, {"roles": [str(at)]}) for at in (5.0, 7.0))
    parts.failing["write"] = Unavailable("scripted")
    with pytest.raises(Unavailable):
        await parts.writer.write(earlier)
    parts.failing["write"] = None
    written = []

    async def write(revoked: Revocation) -> None:
        if not written:
            await held.wait()
        written.append(revoked)

    parts.writer._write = write
    await asyncio.sleep(0.01)  # it is being written again
    writing_later = asyncio.create_task(parts.writer.write(later))
    await asyncio.sleep(0)
    held.set()
    await writing_later
    await until(lambda: len(parts.writer) == 0)
    assert written == [earlier, later]


async def test_writer_remembers_the_longest_of_many_requests() -> None:
    parts = Parts()
    parts.failing["write"] = Unavailable("scripted")
    for until_then in (100.0, 90.0):
        with pytest.raises(Unavailable):
            await parts.writer.write(Revocation("session", "s", expires_at=until_then))
    parts.failing["write"] = None
    await until(lambda: len(parts.writer) == 0)
    assert parts.done[0] == ("write", Revocation("session", "s", expires_at=100.0))


async def test_writer_continues_after_its_caller_has_left() -> None:
    parts = Parts()
    held = asyncio.Event()

    async def hold(_: Revocation) -> None:
        await held.wait()

    parts.writer._write = hold
    waiting = asyncio.create_task(parts.writer.write(subject(5.0)))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    held.set()
    await until(lambda: parts.done == [("follow", subject(5.0))])


async def test_writer_does_not_retry_a_name_that_cannot_be_saved() -> None:
    parts = Parts()
    parts.failing["write"] = ConfigError("no database keeps this name")
    with pytest.raises(ConfigError):
        await parts.writer.write(subject(5.0))
    assert len(parts.writer) == 0


async def test_close_logs_unfinished_revocations(caplog: pytest.LogCaptureFixture) -> None:
    parts = Parts()
    parts.failing["write"] = Unavailable("scripted")
    with pytest.raises(Unavailable):
        await parts.writer.write(subject(5.0))
    await parts.writer.close()
    assert "1 revocations were not finished before the server stopped" in caplog.messages
