"""Hypothesis plays clients, an administrator and the clock: no live socket has more than its rights of now.

Each step begins several things between which the event loop makes some turns, so that joins, refreshes, revocations
and changes of rights overtake each other. Which of them wins is left open; what must hold afterwards is not: the
invariants of the security checklist, by a model that knows tokens, revocations and changes, and nothing of the guard.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from support.examples import examples
from support.live import ENDS_HEARTBEATS
from support.offline import Client, Offline

from roomkey import Policy
from roomkey.core.subject_limits import SubjectLimits

pytestmark = [pytest.mark.long, pytest.mark.checklist("J2", "J3", "J4", "J7")]

GRACE, LIFETIMES = 25.0, [30.0, 300.0, 3000.0]
SUBJECTS, ROLES, ROOMS = ["ada", "eve"], ["admin", "member"], ["staff", "red", "blue", "lounge"]
INCLUDED = {"admin": {"admin", "member"}, "member": {"member"}}


@dataclass(frozen=True)
class Token:
    """What the model knows of a token."""

    token_id: str
    session_id: str
    subject: str
    issued_at: float
    expires_at: float
    roles: frozenset[str]
    rooms: frozenset[str]


RIGHTS = st.fixed_dictionaries(
    {"roles": st.sets(st.sampled_from(ROLES)), "rooms": st.sets(st.sampled_from(["red", "blue"]), min_size=1)}
)
NEW_TOKEN = st.fixed_dictionaries(
    {
        "subject": st.sampled_from(SUBJECTS),
        "rights": RIGHTS,
        "session_id": st.sampled_from(["s1", "s2"]),
        "lifetime": st.sampled_from(LIFETIMES),
    }
)
WHICH = st.sampled_from([0, 0, 0, 1, 1, 2, 5])  # mostly the latest: what races is about one client
ACTIONS = st.one_of(
    st.tuples(st.just("connect"), WHICH, st.none() | NEW_TOKEN),
    st.tuples(st.just("authenticate"), WHICH, NEW_TOKEN),
    st.tuples(st.just("join"), WHICH, st.sampled_from(ROOMS)),
    st.tuples(st.just("join"), WHICH, st.sampled_from(ROOMS)),
    st.tuples(st.just("leave"), WHICH, st.sampled_from(ROOMS)),
    st.tuples(st.just("say"), WHICH, st.sampled_from(ROOMS)),
    st.tuples(st.just("revoke_token"), WHICH, st.none()),
    st.tuples(st.just("revoke_session"), WHICH, st.none()),
    st.tuples(st.just("revoke_subject"), WHICH, st.sampled_from(SUBJECTS)),
    st.tuples(st.just("update_roles"), WHICH, st.tuples(st.sampled_from(SUBJECTS), st.sets(st.sampled_from(ROLES)))),
    st.tuples(
        st.just("update_rooms"), WHICH, st.tuples(st.sampled_from(SUBJECTS), st.sets(st.sampled_from(["red", "blue"])))
    ),
    st.tuples(st.just("time"), WHICH, st.sampled_from([0.3, 1.0, 20.0, 20.0, 90.0])),
    st.tuples(st.just("go"), WHICH, st.none()),
    *[st.tuples(st.just("connect"), WHICH, NEW_TOKEN)] * 2,
    *[st.tuples(st.just("authenticate"), WHICH, NEW_TOKEN)] * 2,
    *[st.tuples(st.just("join"), WHICH, st.sampled_from(ROOMS))] * 4,
)


class Live(RuleBasedStateMachine):
    """The rules; a subclass per engine names the server."""

    engine: str

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.tokens: dict[str, Token] = {}
        self.revoked: set[str] = set()
        self.revoked_until: dict[str, float] = {}
        self.changes: dict[tuple[str, str], tuple[float, frozenset[str]]] = {}
        self.subjects: dict[str, set[str]] = {}  # by sid, everybody it ever belonged to
        self.clients: list[Client] = []
        self.begun: list[asyncio.Future[Any]] = []
        self.waits = 0
        self.run(self._start())

    def run(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    async def _start(self) -> None:
        policy = Policy(roles="admin > member")
        policy.namespace("/")(self.slowly(lambda who: who.is_guest or "member" in who.roles or bool(who.rooms)))
        policy.room("staff")(self.slowly(lambda who: who.has_role("member")))
        policy.room("lounge")(self.slowly(lambda who: who.is_guest))
        policy.room("{room}")(self.slowly(lambda who, room: who.grants(room)))
        limits = SubjectLimits(sockets=2, when_full="end_oldest")
        self.server = Offline(
            self.engine, policy=policy, required=False, grace=GRACE, warn_before=20, subject_limits=limits
        )
        self.server.guard.relay("say")

    def slowly(self, rule: Any) -> Any:
        """A rule that looks at the identity first, and gives its answer some turns later."""
        if "room" in rule.__code__.co_varnames:

            async def ask_room(who: Any, room: str) -> bool:
                answer = rule(who, room)
                for _ in range(self.waits):
                    await asyncio.sleep(0)
                return answer

            return ask_room

        async def ask(who: Any) -> bool:
            answer = rule(who)
            for _ in range(self.waits):
                await asyncio.sleep(0)
            return answer

        return ask

    # The model

    def new_token(self, made: dict[str, Any]) -> str:
        now, rights = self.server.clock.now(), made["rights"]
        token = Token(
            f"t{len(self.tokens)}",
            made["session_id"],
            made["subject"],
            int(now),
            int(now) + made["lifetime"],
            frozenset(rights["roles"]),
            frozenset(rights["rooms"]),
        )
        self.tokens[token.token_id] = token
        return self.server.token(
            token.subject,
            token_id=token.token_id,
            session_id=token.session_id,
            expires_in=token.expires_at - now,
            roles=sorted(token.roles),
            rooms=sorted(token.rooms),
        )

    def is_revoked(self, token: Token) -> bool:
        until = self.revoked_until.get(token.subject, -1.0)
        return bool({token.token_id, token.session_id} & self.revoked) or token.issued_at <= int(until)

    def rights(self, token: Token, what: str) -> frozenset[str]:
        changed_at, to = self.changes.get((token.subject, what), (-1.0, frozenset()))
        own = to if token.issued_at <= int(changed_at) else getattr(token, what)
        return own if what == "rooms" else frozenset().union(*(INCLUDED[role] for role in own))

    def may_be_in(self, room: str, token: Token | None) -> bool:
        if token is None or room == "lounge":
            return token is None and room == "lounge"
        return "member" in self.rights(token, "roles") if room == "staff" else room in self.rights(token, "rooms")

    # What happens

    @rule(actions=st.lists(st.tuples(ACTIONS, st.integers(0, 6)), min_size=1, max_size=5), waits=st.integers(0, 4))
    def happens(self, actions: list[Any], waits: int) -> None:
        self.run(self._happens(actions, waits))

    async def _happens(self, actions: list[Any], waits: int) -> None:
        self.waits = waits
        self.pass_time(2)  # tokens of the same second as a revocation or a change are older ones
        expired = {
            sid: inside for sid, (token, inside) in self.live().items() if token is not None and self.over(token)
        }
        before = {sid: token for sid, (token, _) in self.live().items()}
        for (name, which, what), turns in actions:
            await getattr(self, f"do_{name}")(which, what)
            for _ in range(turns):
                await asyncio.sleep(0)
        await asyncio.gather(*self.begun)
        self.begun.clear()
        await self.server.settle()
        for sid, (token, inside) in self.live().items():
            if sid in expired and token is before[sid]:  # during the grace nothing new is granted
                assert inside <= expired[sid]

    def over(self, token: Token) -> bool:
        return self.server.clock.now() >= token.expires_at

    def pick(self, which: int) -> Client | None:
        alive = [client for client in self.clients if not client.session.closed]
        return alive[-1 - which % len(alive)] if alive else None

    async def do_connect(self, which: int, made: dict[str, Any] | None) -> None:
        client = await self.server.client()
        self.clients.append(client)
        client.begin_connect(None if made is None else self.new_token(made))

    async def do_authenticate(self, which: int, made: dict[str, Any]) -> None:
        client = self.pick(which)
        if client is None or not self.is_open(client):
            return
        client.begin_event("authenticate", {"token": self.new_token(made)})

    async def do_join(self, which: int, room: str) -> None:
        if (client := self.pick(which)) is not None and self.is_open(client):
            client.begin_event("join-room", room)

    async def do_leave(self, which: int, room: str) -> None:
        if (client := self.pick(which)) is not None and self.is_open(client):
            client.begin_event("leave-room", room)

    async def do_say(self, which: int, room: str) -> None:
        if (client := self.pick(which)) is not None and self.is_open(client):
            client.begin_event("say", room, "words")

    def is_open(self, client: Client) -> bool:
        """An honest client waits for the reply to its CONNECT."""
        admission = self.server.admission(client)
        return admission is not None and admission.admitted

    async def do_revoke_token(self, which: int, _: None) -> None:
        if self.tokens and which:
            name = list(self.tokens)[-1 - which % len(self.tokens)]
            self.begun.append(asyncio.ensure_future(self.server.guard.revoke(token_id=name)))
            self.revoked.add(name)

    async def do_revoke_session(self, which: int, _: None) -> None:
        if which == 5:  # seldom, or nobody would stay
            self.begun.append(asyncio.ensure_future(self.server.guard.revoke(session_id="s2")))
            self.revoked.add("s2")

    async def do_revoke_subject(self, which: int, subject: str) -> None:
        if which < 2:
            return
        now = self.server.clock.now()
        self.begun.append(asyncio.ensure_future(self.server.guard.revoke(subject=subject, issued_before=now)))
        self.revoked_until[subject] = now

    async def do_update_roles(self, which: int, what: Any) -> None:
        subject, roles = what
        # The change is made at the first turn of its task, so that turn comes before anything else.
        self.begun.append(asyncio.ensure_future(self.server.guard.update(subject, roles=sorted(roles))))
        self.changes[subject, "roles"] = (self.server.clock.now(), frozenset(roles))
        await asyncio.sleep(0)

    async def do_update_rooms(self, which: int, what: Any) -> None:
        subject, rooms = what
        self.begun.append(asyncio.ensure_future(self.server.guard.update(subject, rooms=sorted(rooms))))
        self.changes[subject, "rooms"] = (self.server.clock.now(), frozenset(rooms))
        await asyncio.sleep(0)

    async def do_time(self, which: int, seconds: float) -> None:
        await asyncio.sleep(0)  # what was begun reads the clock first
        self.pass_time(seconds)

    def pass_time(self, seconds: float) -> None:
        self.server.clock.advance(seconds)
        (self.server.sio if self.engine == "hub" else self.server.guard).check_deadlines()

    async def do_go(self, which: int, _: None) -> None:
        if (client := self.pick(which)) is not None:
            await client.session.lose()

    # What must hold

    def live(self) -> dict[str, tuple[Token | None, set[str]]]:
        """By sid: the token of each live socket (None for a guest), and the rooms it is in by the server's tables."""
        found: dict[str, tuple[Token | None, set[str]]] = {}
        for admission in self.server.guard.index:
            if admission.admitted:
                who = admission.identity
                inside = {room for room in ROOMS if admission.sid in self.server.members(room)}
                found[admission.sid] = (None if who.is_guest else self.tokens[who.token_id], inside)
        return found

    @invariant()
    def i2_every_live_token_is_unexpired_and_unrevoked(self) -> None:
        for token, _ in self.live().values():
            if token is not None:
                assert self.server.clock.now() < token.expires_at + GRACE
                assert not self.is_revoked(token)

    @invariant()
    def i3_every_member_may_be_in_its_rooms_now(self) -> None:
        live = self.live()
        for sid, (token, inside) in live.items():
            assert all(self.may_be_in(room, token) for room in inside), (token, inside)
            if token is not None:
                who = self.server.guard.identity(sid)
                assert who.roles == self.rights(token, "roles")
                assert set(who.rooms) == self.rights(token, "rooms")
                assert "member" in who.roles or who.rooms  # the namespace is open to it now
        for room in ROOMS:
            assert self.server.members(room) <= live.keys()

    @invariant()
    def i4_a_sid_has_one_identity_and_a_guest_may_become_somebody_once(self) -> None:
        for sid, (token, _) in self.live().items():
            subjects = self.subjects.setdefault(sid, set())
            if token is not None:
                subjects.add(token.subject)
                assert sid in self.server.members(f"user:{token.subject}")
            assert len(subjects) <= 1
            assert token is not None or not subjects

    @invariant()
    def a_subject_has_no_more_than_it_may(self) -> None:
        use = self.server.guard._context.usage
        counted = {name: set(connections) for (_, name), connections in use._connections.items()}
        live: dict[str, set[str]] = {}
        for admission in self.server.guard.index:
            if admission.admitted and not admission.identity.is_guest:
                live.setdefault(admission.identity.subject, set()).add(admission.connection)
        assert counted == live
        assert all(len(connections) <= 2 for connections in live.values())

    @invariant()
    def nobody_is_warned_twice_about_one_token(self) -> None:
        for client in self.clients:
            assert len(client.heard("token_expiring")) <= 1 + len(client.heard("authenticated"))

    def teardown(self) -> None:
        try:
            self.run(self.server.lose_all())
            assert self.server.leftovers() == {}
            tasks = [task for task in asyncio.all_tasks(self.loop) if not task.done()]
            if not ENDS_HEARTBEATS:
                tasks = [task for task in tasks if "_send_ping" not in repr(task.get_coro())]
            assert tasks == []
        finally:
            self.run(self.server.guard.close())
            self.loop.close()


class OnSocketIO(Live):
    engine = "python-socketio"


class OnHub(Live):
    engine = "hub"


EXAMPLES = settings(max_examples=examples(40), stateful_step_count=20, suppress_health_check=list(HealthCheck))
TestLiveOnSocketIO, TestLiveOnHub = OnSocketIO.TestCase, OnHub.TestCase
TestLiveOnSocketIO.settings = TestLiveOnHub.settings = EXAMPLES
