"""The invariant, under random interleavings: no handler runs for, and nothing is delivered to, a socket that is not
admitted at that moment.

A real server of either kind (python-socketio with the guard, the hub) with real Engine.IO sessions, whose packets are
put in and taken out without a network; decisions wait at a gate until the machine opens it. What must hold is computed
by a model of a few lines that knows nothing of the guard.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule
from support.clock import FakeClock
from support.examples import examples
from support.live import new_server
from support.offline import rest
from support.sessions import Session, eio_sids
from support.tokens import issuer_at

from roomkey import Policy
from roomkey.hub import Authenticate, Handshake, Hub
from roomkey.policies import rooms_claim
from roomkey.socketio import AsyncGuard

pytestmark = [pytest.mark.long, pytest.mark.checklist("J1")]

TIMEOUT, GRACE, LIFETIME = 15.0, 25.0, 100.0
SUBJECTS = ("ada", "eve")


@dataclass(eq=False)
class Client:
    """What the model knows of one client."""

    number: int
    session: Any
    asked_at: float
    subject: str = ""
    issued_at: float = 0.0
    state: str = "waiting"  # waiting, deciding, in, out
    verdict: bool = False  # what the decision will be, when its gate opens
    rooms: set[str] = field(default_factory=set)
    sid: str = ""


class Quarantine(RuleBasedStateMachine):
    """The rules; a subclass per engine makes the server."""

    clients = Bundle("clients")
    sio: Any
    guard: Any

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = FakeClock()
        self.issuer = issuer_at(self.clock)
        self.gates: dict[int, asyncio.Event] = {}
        self.all: list[Client] = []
        self.revoked: dict[str, float] = {}
        self.handled: list[str] = []
        self.loop.run_until_complete(self._start())

    async def _start(self) -> None:
        policy = Policy()
        policy.room("*")(rooms_claim)

        @policy.namespace("/")
        async def waits_at_its_gate(who: Any) -> bool:
            await self.gates[who.claim("client")].wait()
            return True

        self.make_server(
            self.issuer.verifier(),
            via=(Handshake(), Authenticate(timeout=TIMEOUT, max_attempts=2)),
            policy=policy,
            grace=GRACE,
            clock=self.clock,
        )
        self.guard.serve_rooms()

        @self.sio.on("ping-me")
        async def ping_me(sid: str) -> str:
            self.handled.append(sid)
            return "pong"

    def make_server(self, verifier: Any, **settings: Any) -> None:
        raise NotImplementedError

    def check_deadlines(self) -> None:
        self.guard.check_deadlines()

    def run(self, work: Any) -> Any:
        """Do something, then let everything that can happen happen."""

        async def all_of_it() -> Any:
            result = await work if asyncio.iscoroutine(work) else work
            for _turn in range(60):
                await asyncio.sleep(0)
            return result

        return self.loop.run_until_complete(all_of_it())

    def receive(self, client: Client, message: str) -> None:
        """A packet arrives; it is read in the background, as from a transport of its own."""
        if not client.session.closed:
            self.run(self._start_task(client.session.receive(message)))

    async def _start_task(self, work: Any) -> None:
        self.tasks = [*getattr(self, "tasks", []), asyncio.ensure_future(work)]

    async def _check_deadlines(self) -> None:
        self.check_deadlines()
        await rest(self.sio, self.guard)

    def token(self, client: Client, kind: str, subject: str) -> tuple[str, bool]:
        """A token of some kind, and whether it is good."""
        made = self.issuer.issue(subject, expires_in=LIFETIME, rooms=["red"], claims={"client": client.number})
        if kind == "forged":
            made = made[:-4] + ("AAAA" if not made.endswith("AAAA") else "BBBB")
        if kind == "expired":
            made = self.issuer.issue(subject, expires_in=-60, claims={"client": client.number})
        good = kind == "good" and int(self.clock.now()) > int(self.revoked.get(subject, 0))
        return made, good

    def present(self, client: Client, kind: str, subject: str, packet: str, gate_open: bool) -> None:
        token, good = self.token(client, kind, subject)
        gate = self.gates[client.number]
        gate.set() if gate_open else gate.clear()
        client.subject, client.issued_at = subject, self.clock.now()
        client.state, client.verdict = "deciding", good
        self.receive(client, packet % token)
        if gate_open or not good:
            self.decided(client, last=packet.startswith("0"))

    def decided(self, client: Client, last: bool = False) -> None:
        """The model's side of an answer."""
        if client.state != "deciding":
            return
        packets = client.session.sent()
        if client.verdict:
            client.state = "in"
            assert any(p.startswith("0{") or '"authenticated"' in p for p in packets), packets
        else:
            client.attempts = getattr(client, "attempts", 0) + 1
            client.state = "out" if last or client.attempts >= 2 else "waiting"

    # What happens

    @initialize(target=clients)
    def one_of_each(self) -> Any:
        admitted, waiting, opened = self._open(), self._open(), self._open()
        self.ask_with(admitted, "good", "ada", gate_open=True)
        self.ask_with(waiting, "none", "ada", gate_open=True)
        return multiple(admitted, waiting, opened)

    @rule(target=clients)
    def open(self) -> Client:
        return self._open()

    def _open(self) -> Client:
        session = Session(self.sio)
        self.run(session.open())
        client = Client(len(self.all), session, self.clock.now(), state="opened")
        self.gates[client.number] = asyncio.Event()
        self.gates[client.number].set()
        self.all.append(client)
        return client

    @rule(
        client=clients,
        kind=st.sampled_from(["good", "good", "forged", "expired", "none"]),
        subject=st.sampled_from(SUBJECTS),
        gate_open=st.booleans(),
    )
    def ask(self, client: Client, kind: str, subject: str, gate_open: bool) -> None:
        self.ask_with(client, kind, subject, gate_open)

    def ask_with(self, client: Client, kind: str, subject: str, gate_open: bool) -> None:
        if client.state != "opened":
            return
        client.asked_at = self.clock.now()
        if kind == "none":
            client.state = "waiting"
            self.receive(client, "0")
            assert any(packet.startswith("0{") for packet in client.session.sent())
        else:
            self.present(client, kind, subject, '0{"token":"%s"}', gate_open)
        self.note_sid(client)

    @rule(
        client=clients,
        kind=st.sampled_from(["good", "good", "forged", "expired"]),
        subject=st.sampled_from(SUBJECTS),
        gate_open=st.booleans(),
    )
    def authenticate(self, client: Client, kind: str, subject: str, gate_open: bool) -> None:
        if client.state == "waiting":
            self.present(client, kind, subject, '2["authenticate",{"token":"%s"}]', gate_open)

    @rule(client=clients)
    def open_the_gate(self, client: Client) -> None:
        self.gates[client.number].set()
        self.run(asyncio.sleep(0))
        self.note_sid(client)
        self.decided(client)
        self.note_sid(client)

    @rule(client=clients)
    def event(self, client: Client) -> None:
        before = len(self.handled)
        client.session.sent()
        self.receive(client, '27["ping-me"]')
        answered = [packet for packet in client.session.sent() if packet.startswith("37")]
        assert len(self.handled) - before == (1 if client.state == "in" else 0)
        assert answered == (['37["pong"]'] if client.state == "in" else [])
        if client.state != "in":
            client.state = "out"

    @rule(client=clients, room=st.sampled_from(["red", "blue"]))
    def join(self, client: Client, room: str) -> None:
        self.receive(client, f'2["join-room","{room}"]')
        if client.state != "in":
            client.state = "out"
        elif room == "red":
            client.rooms.add(room)

    @rule(room=st.sampled_from([None, "red", "blue", ["blue", "red"]]))
    def emit(self, room: Any) -> None:
        for client in self.all:
            client.session.sent()
        self.run(self.sio.emit("news", "secret", room=room))
        for client in self.all:
            got = any("secret" in packet for packet in client.session.sent())
            addressed = room is None or not client.rooms.isdisjoint([room] if isinstance(room, str) else room)
            assert got == (client.state == "in" and addressed), (client, room)

    @rule(seconds=st.sampled_from([1.0, 8.0, 16.0, 130.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.run(self._check_deadlines())
        now = self.clock.now()
        for client in self.all:
            late = client.state in ("opened", "waiting", "deciding") and now >= client.asked_at + TIMEOUT
            over = client.state == "in" and now >= int(client.issued_at) + LIFETIME + GRACE
            if late or over:
                client.state = "out"

    @rule(subject=st.sampled_from(SUBJECTS))
    def revoke(self, subject: str) -> None:
        self.revoked[subject] = self.clock.now()
        ended = self.run(self.guard.revoke(subject=subject))
        mine = [client for client in self.all if client.subject == subject]
        assert ended == sum(client.state == "in" for client in mine)
        for client in mine:
            client.state = "out" if client.state == "in" else client.state
            client.verdict = False

    @rule(client=clients)
    def client_goes(self, client: Client) -> None:
        self.run(client.session.lose())
        client.state = "out"

    @rule(client=clients)
    def server_disconnects(self, client: Client) -> None:
        if client.state == "in":
            self.run(self.sio.disconnect(client.sid))
            self.run(rest(self.sio, self.guard))
            client.state = "out"

    def note_sid(self, client: Client) -> None:
        connection = eio_sids(self.guard).get(client.session.eio_sid)
        if connection is not None and "/" in connection.sockets:
            client.sid = connection.sockets["/"].sid

    @invariant()
    def who_is_admitted_is_who_should_be(self) -> None:
        admitted = {admission.connection.host.eio_sid for admission in self.guard.index if admission.admitted}
        assert admitted == {client.session.eio_sid for client in self.all if client.state == "in"}

    @invariant()
    def nothing_is_left_of_who_is_out(self) -> None:
        self.run(rest(self.sio, self.guard))
        for client in self.all:
            if client.state == "out":
                assert client.session.closed
                assert client.session.eio_sid not in eio_sids(self.guard)
                # python-socketio's own entry goes when the decision it waits for comes back
                if self.gates[client.number].is_set():
                    assert not client.session.is_known_to_server()

    def teardown(self) -> None:
        for gate in self.gates.values():
            gate.set()
        self.run(self.guard.settle())
        for client in self.all:
            self.run(client.session.lose())
        timers = self.guard.background.timers
        if timers._handle is not None:
            timers._handle.cancel()
        left = asyncio.all_tasks(self.loop)  # those of engineio
        for task in left:
            task.cancel()
        self.loop.run_until_complete(asyncio.wait([*left, self.loop.create_task(asyncio.sleep(0))]))
        self.loop.close()


class OnSocketIO(Quarantine):
    def make_server(self, verifier: Any, **settings: Any) -> None:
        self.sio = new_server()
        self.guard = AsyncGuard(verifier, **settings)
        self.guard.attach(self.sio)


class OnHub(Quarantine):
    def make_server(self, verifier: Any, **settings: Any) -> None:
        self.sio = Hub(verifier, ping_interval=1e9, **settings)
        self.guard = self.sio.guard

    def check_deadlines(self) -> None:
        self.sio.check_deadlines()


EXAMPLES = settings(max_examples=examples(120), stateful_step_count=40, suppress_health_check=list(HealthCheck))
TestOnSocketIO, TestOnHub = OnSocketIO.TestCase, OnHub.TestCase
TestOnSocketIO.settings = TestOnHub.settings = EXAMPLES
