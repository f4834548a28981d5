"""The table of one namespace connection's states."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomkey.core.admission import LIVE, TABLE, Action, Admission, Input, State
from roomkey.errors import MalformedToken, RevokedToken

OVER = (State.REFUSED, State.ENDED)


def admission(**settings):
    return Admission("connection", "/", "sid", **settings)


def test_the_way_in():
    one = admission()
    assert one.feed(Input.PRESENT) == (Action.VERIFY,)
    assert one.feed(Input.IDENTIFIED) == (Action.RUN_CONNECT,)
    assert not one.admitted
    assert one.feed(Input.ACCEPTED) == (Action.ANNOUNCE,)
    assert one.admitted
    assert one.feed(Input.PACKET) == (Action.DISPATCH,)


@given(st.lists(st.sampled_from(Input)))
def test_only_the_three_steps_in_their_order_admit(inputs):
    one = admission()
    steps = [Input.PRESENT, Input.IDENTIFIED, Input.ACCEPTED]
    taken = 0
    for happened in inputs:
        before = one.state
        actions = one.feed(happened)
        if before in OVER:
            assert one.state is before
            assert actions == ()
        if one.state is not before and one.state in (State.DECIDING, State.CONNECTING, State.ADMITTED):
            assert happened is steps[taken]
            taken += 1
        if one.state is State.PENDING:
            taken = 0
        assert one.admitted == (taken == 3 and one.state not in OVER)
        if Action.DISPATCH in actions:
            assert before is State.ADMITTED


@pytest.mark.parametrize("state", sorted(LIVE, key=str))
def test_every_live_state_ends_when_the_client_goes(state):
    assert TABLE[state, Input.GONE][0] in OVER


@pytest.mark.parametrize("state", sorted(LIVE - {State.ADMITTED}, key=str))
@pytest.mark.parametrize("happened", [Input.PACKET, Input.TIMEOUT])
def test_before_admission_a_packet_and_the_deadline_refuse(state, happened):
    after, actions = TABLE[state, happened]
    assert after is State.REFUSED
    assert actions == (Action.REPORT, Action.DISCONNECT, Action.CLOSE)


def test_expiry_lets_the_client_return_and_revocation_does_not():
    assert Action.DISCONNECT not in TABLE[State.ADMITTED, Input.EXPIRE][1]
    assert Action.DISCONNECT in TABLE[State.ADMITTED, Input.REVOKE][1]


def test_bad_tokens_are_counted():
    one = admission(max_attempts=3)
    for _attempt in range(2):
        one.feed(Input.PRESENT)
        assert one.bad_token(MalformedToken()) == (Action.REPORT,)
        assert one.state is State.PENDING
    one.feed(Input.PRESENT)
    assert Action.CLOSE in one.bad_token(MalformedToken("the last"))
    assert one.state is State.REFUSED
    assert str(one.ended_by) == "the last"


def test_a_second_token_while_one_is_decided_does_nothing():
    one = admission()
    one.feed(Input.PRESENT)
    assert one.feed(Input.PRESENT) == ()
    assert one.state is State.DECIDING


def test_what_lost_the_race_stays_lost():
    one = admission()
    one.feed(Input.PRESENT)
    one.feed(Input.IDENTIFIED)
    one.feed(Input.REVOKE, RevokedToken())
    assert one.feed(Input.ACCEPTED) == ()
    assert one.state is State.REFUSED
    assert isinstance(one.ended_by, RevokedToken)


@pytest.mark.parametrize(
    ("state", "alone", "receives"),
    [
        (State.PENDING, True, False),
        (State.DECIDING, True, False),
        (State.CONNECTING, True, True),
        (State.CONNECTING, False, False),
        (State.ADMITTED, False, True),
        (State.ENDED, True, False),
    ],
)
def test_who_may_receive(state, alone, receives):
    one = admission()
    one.state = state
    assert one.may_receive(alone=alone) is receives
