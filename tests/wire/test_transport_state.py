"""The tables of an Engine.IO session: its transport, and its heartbeat."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from support.examples import examples

from roomkey.wire import TransportAction as Action
from roomkey.wire import TransportInput as Input
from roomkey.wire import TransportMachine
from roomkey.wire import TransportState as State
from roomkey.wire.transport_state import HEARTBEAT, TRANSPORT

STARTS = [State.POLLING, State.WEBSOCKET]
UPGRADED = [Input.OFFER, Input.PROBE, Input.UPGRADE]
WAY_TO = {
    State.POLLING: [],
    State.OFFERED: UPGRADED[:1],
    State.PROBED: UPGRADED[:2],
    State.WEBSOCKET: UPGRADED,
    State.CLOSED: [Input.CLOSE],
}
BEATS = {Input.PONG, Input.HEARTBEAT_DUE}
OPEN = [state for state in State if state is not State.CLOSED]


def session_in(state: State, awaiting: bool = False) -> TransportMachine:
    session = TransportMachine()
    for happened in [Input.HEARTBEAT_DUE] * awaiting + WAY_TO[state]:
        session.handle(happened)
    assert (session.state, session.awaiting_pong) == (state, awaiting)
    return session


def test_upgrade_from_polling_to_a_websocket():
    """engine.io-protocol 4, Upgrade: probe, its answer, upgrade."""
    session = TransportMachine()
    assert [(session.handle(happened), session.state) for happened in UPGRADED] == [
        (None, State.OFFERED),
        (Action.ANSWER_PROBE, State.PROBED),
        (Action.SWITCH, State.WEBSOCKET),
    ]


def test_second_upgrade_is_refused():
    """A session has at most one WebSocket."""
    session = session_in(State.WEBSOCKET)
    assert session.handle(Input.OFFER) is Action.REFUSE_CANDIDATE
    assert session.state is State.WEBSOCKET


@pytest.mark.parametrize("state", STARTS)
def test_server_sends_the_heartbeat(state):
    """engine.io-protocol 4, Heartbeat: ping from the server, pong from the client, in turn."""
    session = TransportMachine(state)
    for _turn in range(3):
        assert session.handle(Input.HEARTBEAT_DUE) is Action.PING
        assert session.awaiting_pong
        assert session.handle(Input.PONG) is Action.REST
        assert not session.awaiting_pong
    assert session.state is state


@pytest.mark.parametrize("state", OPEN)
def test_missing_pong_ends_the_session(state):
    session = session_in(state, awaiting=True)
    assert session.handle(Input.HEARTBEAT_DUE) is Action.END_SILENT
    assert session.state is State.CLOSED


@pytest.mark.checklist("E84")
@pytest.mark.parametrize("state", OPEN)
def test_pong_without_a_ping_ends_the_session(state):
    session = session_in(state)
    assert session.handle(Input.PONG) is Action.END
    assert session.state is State.CLOSED


@pytest.mark.checklist("E84")
def test_second_pong_ends_the_session():
    session = session_in(State.WEBSOCKET, awaiting=True)
    assert [session.handle(Input.PONG), session.handle(Input.PONG)] == [Action.REST, Action.END]


# The next state for each state and input. Written by hand, not from the tables.
STAYS, CLOSES = "stays", State.CLOSED
EXPECTED: dict[Input, dict[State, tuple[object, Action | None]]] = {
    Input.OFFER: {
        State.POLLING: (State.OFFERED, None),
        State.OFFERED: (STAYS, Action.REFUSE_CANDIDATE),
        State.PROBED: (STAYS, Action.REFUSE_CANDIDATE),
        State.WEBSOCKET: (STAYS, Action.REFUSE_CANDIDATE),
        State.CLOSED: (STAYS, Action.REFUSE_CANDIDATE),
    },
    Input.PROBE: {
        State.POLLING: (CLOSES, Action.END),
        State.OFFERED: (State.PROBED, Action.ANSWER_PROBE),
        State.PROBED: (State.POLLING, Action.DROP_CANDIDATE),
        State.WEBSOCKET: (CLOSES, Action.END),
    },
    Input.UPGRADE: {
        State.POLLING: (CLOSES, Action.END),
        State.OFFERED: (State.POLLING, Action.DROP_CANDIDATE),
        State.PROBED: (State.WEBSOCKET, Action.SWITCH),
        State.WEBSOCKET: (CLOSES, Action.END),
    },
    Input.CANDIDATE_LOST: {
        State.POLLING: (STAYS, None),
        State.OFFERED: (State.POLLING, Action.DROP_CANDIDATE),
        State.PROBED: (State.POLLING, Action.DROP_CANDIDATE),
        State.WEBSOCKET: (STAYS, None),
    },
    Input.CLOSE: dict.fromkeys(OPEN, (CLOSES, Action.END)),
    Input.LOST: dict.fromkeys(OPEN, (CLOSES, None)),
}
PAIRS = [(state, happened) for state, happened in product(State, Input) if happened not in BEATS]


@pytest.mark.parametrize(("state", "happened"), PAIRS, ids=lambda part: part.name)
@pytest.mark.parametrize("awaiting", [False, True], ids=["calm", "awaiting"])
def test_each_pair_of_state_and_input_is_defined(state, happened, awaiting):
    # A closed session does nothing, except to refuse a new WebSocket.
    expected, action = EXPECTED[happened].get(state, (STAYS, None))
    session = session_in(state, awaiting and state is not State.CLOSED)
    before = session.awaiting_pong
    assert session.handle(happened) is action
    assert session.state is (state if expected is STAYS else expected)
    assert session.awaiting_pong is before


@pytest.mark.parametrize("happened", Input, ids=lambda part: part.name)
def test_closed_stays_closed(happened):
    session = session_in(State.CLOSED)
    assert session.handle(happened) is (Action.REFUSE_CANDIDATE if happened is Input.OFFER else None)
    assert session.state is State.CLOSED


def test_tables_contain_only_possible_pairs():
    assert {happened for _, happened in TRANSPORT}.isdisjoint(BEATS)
    assert set(HEARTBEAT) == set(product([False, True], BEATS))
    # In the table of transports, CLOSED is final.
    assert all(after is State.CLOSED for (state, _), (after, _) in TRANSPORT.items() if state is State.CLOSED)


class Model(RuleBasedStateMachine):
    """A session and a model without tables: a transport, at most one candidate, and a pending ping."""

    @initialize(state=st.sampled_from(STARTS))
    def begin(self, state: State) -> None:
        self.session = TransportMachine(state)
        self.websocket = state is State.WEBSOCKET
        self.candidate: list[Input] | None = None  # what the candidate has sent, if there is one
        self.pinged = False
        self.over = False

    def told(self, happened: Input) -> Action | None:
        """Return the action that the model expects."""
        if self.over:
            return Action.REFUSE_CANDIDATE if happened is Input.OFFER else None
        answer: Action | None = getattr(self, happened.name.lower(), self.ending)(happened)
        self.over = happened is Input.LOST or answer in (Action.END, Action.END_SILENT)
        return answer

    def ending(self, happened: Input) -> Action | None:
        return None if happened is Input.LOST else Action.END

    def offer(self, _happened: Input) -> Action | None:
        if self.websocket or self.candidate is not None:
            return Action.REFUSE_CANDIDATE
        self.candidate = []
        return None

    def probe(self, happened: Input) -> Action:
        if self.candidate is None:
            return Action.END
        self.candidate.append(happened)
        if self.candidate == [Input.PROBE]:
            return Action.ANSWER_PROBE
        if self.candidate == [Input.PROBE, Input.UPGRADE]:
            self.websocket, self.candidate = True, None
            return Action.SWITCH
        self.candidate = None
        return Action.DROP_CANDIDATE

    upgrade = probe

    def candidate_lost(self, _happened: Input) -> Action | None:
        had, self.candidate = self.candidate, None
        return None if had is None else Action.DROP_CANDIDATE

    def pong(self, _happened: Input) -> Action:
        was, self.pinged = self.pinged, False
        return Action.REST if was else Action.END

    def heartbeat_due(self, _happened: Input) -> Action:
        was, self.pinged = self.pinged, True
        return Action.END_SILENT if was else Action.PING

    @precondition(lambda self: self.over)
    @rule(state=st.sampled_from(STARTS))
    def another(self, state: State) -> None:
        self.begin(state)

    @rule()
    def beats(self) -> None:
        """Act as an honest client."""
        self.happens(Input.PONG if self.pinged else Input.HEARTBEAT_DUE)

    # Offers are most frequent and endings rarest, so that many states are reached.
    @rule(happened=st.sampled_from([*Input, *[Input.OFFER] * 8, *[Input.PROBE] * 4, Input.UPGRADE]))
    def happens(self, happened: Input) -> None:
        expected = self.told(happened)
        assert self.session.handle(happened) is expected
        assert (self.session.state is State.CLOSED) is self.over
        if not self.over:
            assert self.session.awaiting_pong is self.pinged
            states = {None: State.POLLING, 0: State.OFFERED, 1: State.PROBED}
            sent = None if self.candidate is None else len(self.candidate)
            assert self.session.state is (State.WEBSOCKET if self.websocket else states[sent])

    @rule()
    def upgrades(self) -> None:
        for happened in UPGRADED:
            self.happens(happened)


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=examples(150), stateful_step_count=30)
