"""Hypothesis plays servers on one journal, partitions and losses: whoever admits anybody knows every older revocation.

The journal is one in memory that servers can be cut off from, and that loses entries as Redis does. The clocks of the
servers are up to 5 seconds apart.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from support.clock import FakeClock
from support.journals import JournalServer
from support.losable_journal import LosableMemory, SharedJournal

from roomkey.errors import Unavailable
from roomkey.guard import journal_repair, revocation_sync, revocation_writer

pytestmark = [pytest.mark.long, pytest.mark.checklist("J6")]

SERVERS = st.integers(0, 2)
SUBJECTS = st.sampled_from(["ada", "eve"])


class Server(JournalServer):
    """One of several servers, with a clock of its own."""

    def __init__(self, shared: SharedJournal, wrong_by: float) -> None:
        self.clock = FakeClock()
        self.clock.wrong_by = wrong_by
        super().__init__(LosableMemory(shared), clock=self.clock)

    def knows(self, token_id: str) -> bool:
        return self.revoked(token_id) == [True]

    def roles(self) -> dict[str, object]:
        return {name: change.roles for name, change in self.guard._authorizer.changed.changes.items()}


class Servers(RuleBasedStateMachine):
    """Three servers."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.now = 0.0
        self.revoked: dict[str, float] = {}  # when revoke() returned without an error
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
            self.servers = [Server(self.shared, each) for each in wrong]

        self.run(make())

    @rule(server=SERVERS)
    def revoke(self, server):
        name = f"t{len(self.revoked)}-{self.now}-{server}-{len(self.shared.entries)}"

        async def revoke():
            try:
                await self.servers[server].guard.revoke(token_id=name)
            except Unavailable:
                return
            self.revoked[name] = self.now

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
        self.now += seconds

        async def advance():
            for server in self.servers:
                server.clock.advance(seconds)

        self.run(advance())

    @rule(server=SERVERS)
    def read(self, server):
        self.run(self.servers[server].read())

    @rule(server=SERVERS)
    def admit(self, server):
        """Whoever may admit somebody has read the journal within a second, so that it knows what is older.

        Except what the journal has lost, and whoever knows it has not read the journal since to write it back.
        """
        one = self.servers[server]
        present = {entry.name for entry in self.shared.found}

        async def admit():
            try:
                await one.sync.check()
            except Unavailable:
                return
            for name, when in self.revoked.items():
                if when < self.now - revocation_sync.FRESH_SECONDS and name in present:
                    assert one.knows(name)

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

        self.run(close())
        self.loop.close()
        self.patch.undo()


TestServers = Servers.TestCase
TestServers.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
