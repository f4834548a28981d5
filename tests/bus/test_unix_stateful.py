"""Hypothesis plays processes of one machine that come, leave, stop and are killed, and a kernel with any order.

Whatever happens, each message of a connected bus arrives, or its receiver reports a loss: after a message that it
missed, it connects again. In the end, all are connected, and each receives what each publishes.
"""

from __future__ import annotations

import shutil
import tempfile
from functools import partial
from pathlib import Path
from random import Random
from typing import NamedTuple
from unittest import mock

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from support.examples import examples
from support.kernel import Kernel, Process

from roomkey.bus.unix import UnixBus

pytestmark = pytest.mark.long

WHICH = st.integers(0, 9)
SEED = st.integers(0, 2**16)
MOST = 4
QUIET_SECONDS = 30.0


class Published(NamedTuple):
    """A message of a bus that was connected."""

    sender: Member
    number: int
    channel: str


class Member:
    """A process with a bus, and what it heard.

    Attributes:
        heard: the numbers of the messages, by sender.
        since: how many messages were published when a subscription was in effect, by channel.
        connected_at: how many messages were published when it last reported that it is connected; None before.
    """

    def __init__(self, process: Process, folder: Path, name: str, published: list[Published]) -> None:
        self.process = process
        with mock.patch("roomkey.bus.unix.secrets.token_hex", return_value=name):
            self.bus = UnixBus(folder, max_queue=2000)
        self.heard: dict[str, list[int]] = {}
        self.since = {"a": len(published)}
        self.connected_at: int | None = None
        self._published = published
        self.bus.subscribe("a")
        process.loop.create_task(self.bus.open(self._heard, self._state))

    def _heard(self, channel: str, payload: bytes) -> None:
        sender, number = payload.split()[:2]
        self.heard.setdefault(sender.decode(), []).append(int(number))

    def _state(self, connected: bool) -> None:
        assert self.bus.connected is connected
        if connected:
            self.connected_at = len(self._published)

    async def subscribe(self, channel: str) -> None:
        self.bus.subscribe(channel)
        if await self.bus.subscribed(channel):
            self.since.setdefault(channel, len(self._published))

    async def unsubscribe(self, channel: str) -> None:
        self.since.pop(channel, None)
        self.bus.unsubscribe(channel)


class Machine(RuleBasedStateMachine):
    """Some processes."""

    @initialize(seed=SEED)
    def begin(self, seed: int) -> None:
        self.random = Random(seed)
        self.folder = Path(tempfile.mkdtemp(prefix="rk", dir="/tmp"))
        self.away = self.folder.with_suffix(".away")
        self.kernel = Kernel()
        self.members: list[Member] = []
        self.published: list[Published] = []
        self.started = 0
        for _ in range(2):
            self.start()
        self.kernel.run(self.random, 1.0)

    def pick(self, which: int) -> Member:
        return self.members[which % len(self.members)]

    # What happens

    @rule()
    def start(self) -> None:
        if len(self.members) < MOST:
            self.started += 1
            self.members.append(Member(self.kernel.start(), self.folder, f"{self.started:012x}", self.published))

    @rule(which=WHICH, orderly=st.booleans(), last=st.integers(0, 2))
    def end(self, which: int, orderly: bool, last: int) -> None:
        """A process leaves, or is killed, perhaps with messages that it has not sent."""
        if len(self.members) < 2:
            return
        member = self.pick(which)
        self.publish(which, last, 0)
        self.members.remove(member)
        if orderly and not member.process.is_stopped:
            member.process.loop.create_task(member.bus.close())
        else:
            self.kernel.kill(member.process)

    @rule(which=WHICH)
    def stop_or_continue(self, which: int) -> None:
        process = self.pick(which).process
        process.is_stopped = not process.is_stopped

    @rule(which=WHICH, begins=st.booleans())
    def subscribe(self, which: int, begins: bool) -> None:
        member = self.pick(which)
        if member.connected_at is not None:
            member.process.loop.create_task(member.subscribe("b") if begins else member.unsubscribe("b"))

    @rule(which=WHICH, number=st.integers(1, 3), size=st.sampled_from([0, 0, 600]), channel=st.sampled_from("ab"))
    def publish(self, which: int, number: int, size: int, channel: str = "a") -> None:
        member = self.pick(which)
        for _ in range(number if not member.process.is_stopped else 0):
            if member.bus.connected:
                self.published.append(Published(member, len(self.published), channel))
                payload = b"%b %d %b" % (member.bus.name.encode(), len(self.published) - 1, b"x" * size)
                member.process.do(partial(member.bus.publish, channel, payload))

    @rule(action=st.sampled_from(["move", "delete", "restore"]))
    def folder_changes(self, action: str) -> None:
        if action == "move" and self.folder.exists():
            shutil.rmtree(self.away, ignore_errors=True)
            self.folder.rename(self.away)
        elif action == "delete":
            shutil.rmtree(self.folder, ignore_errors=True)
        elif not self.folder.exists():
            self.away.rename(self.folder) if self.away.exists() else self.folder.mkdir(0o700)

    @rule(number=st.integers(1, 20), seed=SEED)
    def some_steps(self, number: int, seed: int) -> None:
        """Processes run, and what killed processes had open is closed."""
        random = Random(seed)
        for _ in range(number):
            self.kernel.step(random)

    @rule(seconds=st.sampled_from([0.0, 0.1, 0.9, 1.2, 3.0]))
    def time_passes(self, seconds: float) -> None:
        self.kernel.run(self.random, seconds)

    # What holds in the end

    def _check_reports(self) -> None:
        for sender, number, channel in self.published:
            for member in self.members:
                if member is sender or number < member.since.get(channel, len(self.published)):
                    continue
                if number not in member.heard.get(sender.bus.name, []):
                    assert member.connected_at is not None
                    assert member.connected_at > number, "a loss was not reported"

    def _check_that_all_hear_all(self) -> None:
        before = len(self.published)
        for which, member in enumerate(self.members):
            assert member.bus.connected
            assert not member.bus._dialing
            assert not member.bus._missing
            self.publish(which, 1, 0)
        self.kernel.run(self.random, 0.0)
        for sender, number, _ in self.published[before:]:
            for member in self.members:
                assert (number in member.heard.get(sender.bus.name, [])) is (member is not sender)
        for member in self.members:
            for numbers in member.heard.values():
                assert numbers == sorted(set(numbers))

    def teardown(self) -> None:
        if not hasattr(self, "kernel"):
            return
        try:
            for member in self.members:
                member.process.is_stopped = False
            self.folder_changes("restore")
            self.kernel.run(self.random, QUIET_SECONDS)
            assert self.kernel.errors == []
            self._check_reports()
            self._check_that_all_hear_all()
        finally:
            self.kernel.end()
            shutil.rmtree(self.folder, ignore_errors=True)
            shutil.rmtree(self.away, ignore_errors=True)


TestMachine = Machine.TestCase
TestMachine.settings = settings(
    max_examples=examples(100), stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)


def test_killed_process_that_has_not_sent_everything_is_reported() -> None:
    """The others may notice in any order that their connections with it end, and that it refuses new ones."""
    for seed in range(30):
        machine = Machine()
        machine.begin(seed=seed)
        machine.end(which=0, orderly=False, last=1)
        machine.teardown()
