"""Hypothesis plays servers on one journal, partitions and losses: whoever admits anybody knows every older revocation.

The journal is one in memory that servers can be cut off from, and that loses entries as Redis does. The clocks of the
servers are up to 5 seconds apart. Nothing depends on real time or on chance, so that each run can be repeated.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from support.clock import FakeClock
from support.journals import JournalServer
from support.losable_journal import LosableMemory, SharedJournal
from support.virtual_loop import VirtualLoop

from roomkey.core.revocations import HybridClock
from roomkey.errors import Unavailable
from roomkey.guard import journal_repair, revocation_sync, revocation_writer
from roomkey.guard.nap import SHORTEST_SECONDS

pytestmark = [pytest.mark.long, pytest.mark.checklist("J6")]

SERVERS = st.integers(0, 2)
SUBJECTS = st.sampled_from(["ada", "eve"])


class Server(JournalServer):
    """One of several servers, with a clock of its own."""

    def __init__(self, shared: SharedJournal, name: str, wrong_by: float) -> None:
        self.clock = FakeClock()
        self.clock.wrong_by = wrong_by
        super().__init__(LosableMemory(shared), clock=self.clock)
        self.sync.versions = HybridClock(name)  # otherwise chance decides between two changes of the same time

    def knows(self, token_id: str) -> bool:
        return self.revoked(token_id) == [True]

    def roles(self) -> dict[str, object]:
        return {name: change.roles for name, change in self.guard._authorizer.changed.changes.items()}


class Servers(RuleBasedStateMachine):
    """Three servers."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualLoop()
        self.now = 0.0
        self.revoked: list[str] = []  # those for which revoke() returned without an error
        self.since: dict[str, float] = {}  # when the journal got each revocation that it contains
        self.reads: list[asyncio.Task[None]] = []
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(revocation_sync, "POLL_SECONDS", 3600.0)
        self.patch.setattr(journal_repair, "WRITE_BACK_SECONDS", 0.0)
        self.patch.setattr(revocation_writer, "RETRY_SECONDS", 3600.0)

    def run(self, work):
        return self.loop.run_until_complete(work)

    @initialize(wrong=st.tuples(*[st.sampled_from([-2.5, 0.0, 2.5])] * 3))
    def begin(self, wrong):
        async def make():
            self.shared = SharedJournal()
            self.servers = [Server(self.shared, f"s{number}", each) for number, each in enumerate(wrong)]

        self.run(make())

    @rule(server=SERVERS)
    def revoke(self, server):
        name = f"t{len(self.revoked)}-{self.now}-{server}-{len(self.shared.entries)}"

        async def revoke():
            try:
                await self.servers[server].guard.revoke(token_id=name)
            except Unavailable:
                return
            self.revoked.append(name)

        self.run(revoke())

    @rule(server=SERVERS, subject=SUBJECTS, role=st.sampled_from(["a", "b", "c"]))
    def update(self, server, subject, role):
        async def update():
            with suppress(Unavailable):
                await self.servers[server].guard.update(subject, roles=[role])

        self.run(update())

    @rule(server=SERVERS, is_cut_off=st.booleans())
    def partition(self, server, is_cut_off):
        self.servers[server].journal.is_cut_off = is_cut_off

    @rule(server=SERVERS, loses=st.booleans())
    def lose_answers(self, server, loses):
        self.servers[server].journal.loses_answers = loses

    @rule()
    def flush(self):
        self.shared.flush()

    @rule(number=st.integers(1, 4))
    def lose_tail(self, number):
        self.shared.lose_tail(number)

    @rule(seconds=st.sampled_from([0.4, 0.7, 1.1, 5.0]))
    def time_passes(self, seconds):
        self._advance(seconds)

    def _advance(self, seconds):
        self.now += seconds

        async def advance():
            for server in self.servers:
                server.clock.advance(seconds)

        self.run(advance())

    @rule()
    def follow(self):
        """Let the servers read what they have waited for."""
        self.run(asyncio.sleep(2 * SHORTEST_SECONDS))

    @rule(server=SERVERS)
    def read(self, server):
        self.run(self.servers[server].read())

    @rule(server=SERVERS, turns=st.integers(1, 8), is_slow=st.booleans())
    def begin_read(self, server, turns, is_slow):
        """Let time pass, and the journal change, between the steps of a read, and while its answer is under way."""

        async def begin():
            self.servers[server].journal.under_way = partial(asyncio.sleep, 0.1) if is_slow else None
            self.reads.append(asyncio.create_task(self.servers[server].sync._poll_once()))
            for _ in range(turns):
                await asyncio.sleep(0)

        self.run(begin())

    @rule(server=SERVERS, seconds=st.sampled_from([0.0, 0.4, 0.7, 1.1]))
    def admit(self, server, seconds):
        """Whoever may admit somebody knows what has been in the journal for more than a second.

        That excludes what the journal has lost, until a server that knows it has written it back.
        """
        self._advance(seconds)
        one = self.servers[server]

        async def admit():
            try:
                await one.sync.check()
            except Unavailable:
                return
            old = self.now - revocation_sync.FRESH_SECONDS
            assert [name for name, since in self.since.items() if since < old and not one.knows(name)] == []

        self.run(admit())

    @rule(server=SERVERS, subject=SUBJECTS)
    def heal(self, server, subject):
        """After a partition has healed, all know the same, and the next change applies, whatever its clock says."""

        async def heal():
            for one in self.servers:
                one.journal.is_cut_off = one.journal.loses_answers = False
            for _ in range(2):
                for one in self.servers:
                    for key in list(one.sync.writer._rest):
                        await one.sync.writer._finish_one(key)
                    await one.read()
            for one in self.servers:
                await one.sync.check()
            assert all(one.knows(name) for one in self.servers for name in self.revoked)
            assert all(one.roles() == self.servers[0].roles() for one in self.servers)
            await self.servers[server].guard.update(subject, roles=["latest"])
            for one in self.servers:
                await one.read()
            assert [one.roles()[subject] for one in self.servers] == [("latest",)] * 3

        self.run(heal())

    @invariant()
    def journal_is_remembered(self):
        if hasattr(self, "shared"):
            present = {entry.name: self.now for entry in self.shared.found if entry.kind == "token"}
            self.since = {name: self.since.get(name, now) for name, now in present.items()}

    @invariant()
    def nothing_is_forgotten(self):
        """A server never forgets what it knew: also while it reads a lost journal again."""
        if hasattr(self, "servers"):
            for one in self.servers:
                known = {name for name in self.revoked if one.knows(name)}
                assert known >= getattr(one, "known", set())
                one.known = known

    def teardown(self):
        async def close():
            for one in getattr(self, "servers", ()):
                one.journal.is_cut_off = False
                await one.close()
            await asyncio.gather(*self.reads)

        self.run(close())
        self.loop.close()
        self.patch.undo()


TestServers = Servers.TestCase
TestServers.settings = settings(
    max_examples=60, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
)
