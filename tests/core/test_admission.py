"""The table of one namespace connection's states."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomkey.core.admission import LIVE, TABLE, Admission, AdmissionAction, AdmissionEvent, AdmissionState
from roomkey.errors import MalformedToken, RevokedToken

TAKEN = (AdmissionState.DECIDING, AdmissionState.CONNECTING, AdmissionState.ADMITTED)
OVER = (AdmissionState.REFUSED, AdmissionState.ENDED)


def admission(**settings):
    return Admission(**settings)


def test_the_way_in():
    one = admission()
    assert one.handle(AdmissionEvent.PRESENT) == (AdmissionAction.VERIFY,)
    assert one.handle(AdmissionEvent.IDENTIFIED) == (AdmissionAction.RUN_CONNECT,)
    assert not one.admitted
    assert one.handle(AdmissionEvent.ACCEPTED) == (AdmissionAction.ANNOUNCE,)
    assert one.admitted
    assert one.handle(AdmissionEvent.PACKET) == (AdmissionAction.DISPATCH,)


@given(st.lists(st.sampled_from(AdmissionEvent)))
def test_only_the_three_steps_in_their_order_admit(inputs):
    one = admission()
    steps = [AdmissionEvent.PRESENT, AdmissionEvent.IDENTIFIED, AdmissionEvent.ACCEPTED]
    taken = 0
    for happened in inputs:
        before = one.state
        actions = one.handle(happened)
        if before in OVER:
            assert one.state is before
            assert actions == ()
        if one.state is not before and one.state in (
            AdmissionState.DECIDING,
            AdmissionState.CONNECTING,
            AdmissionState.ADMITTED,
        ):
            assert happened is steps[taken]
            taken += 1
        if one.state is AdmissionState.PENDING:
            taken = 0
        assert one.admitted == (taken == 3 and one.state not in OVER)
        if AdmissionAction.DISPATCH in actions:
            assert before is AdmissionState.ADMITTED


@pytest.mark.parametrize("state", sorted(LIVE, key=str))
def test_every_live_state_ends_when_the_client_goes(state):
    assert TABLE[state, AdmissionEvent.GONE][0] in OVER


@pytest.mark.parametrize("state", sorted(LIVE - {AdmissionState.ADMITTED}, key=str))
@pytest.mark.parametrize("happened", [AdmissionEvent.PACKET, AdmissionEvent.TIMEOUT])
def test_before_admission_a_packet_and_the_deadline_refuse(state, happened):
    after, actions = TABLE[state, happened]
    assert after is AdmissionState.REFUSED
    assert actions == (AdmissionAction.REPORT, AdmissionAction.DISCONNECT, AdmissionAction.CLOSE)


def test_expiry_lets_the_client_return_and_revocation_does_not():
    assert AdmissionAction.DISCONNECT not in TABLE[AdmissionState.ADMITTED, AdmissionEvent.EXPIRE][1]
    assert AdmissionAction.DISCONNECT in TABLE[AdmissionState.ADMITTED, AdmissionEvent.REVOKE][1]


def test_bad_tokens_are_counted():
    one = admission(max_attempts=3)
    for _attempt in range(2):
        one.handle(AdmissionEvent.PRESENT)
        assert one.reject_token(MalformedToken()) == (AdmissionAction.REPORT,)
        assert one.state is AdmissionState.PENDING
    one.handle(AdmissionEvent.PRESENT)
    assert AdmissionAction.CLOSE in one.reject_token(MalformedToken("the last"))
    assert one.state is AdmissionState.REFUSED
    assert str(one.ended_by) == "the last"


def test_a_second_token_while_one_is_decided_does_nothing():
    one = admission()
    one.handle(AdmissionEvent.PRESENT)
    assert one.handle(AdmissionEvent.PRESENT) == ()
    assert one.state is AdmissionState.DECIDING


def test_what_lost_the_race_stays_lost():
    one = admission()
    one.handle(AdmissionEvent.PRESENT)
    one.handle(AdmissionEvent.IDENTIFIED)
    one.handle(AdmissionEvent.REVOKE, RevokedToken())
    assert one.handle(AdmissionEvent.ACCEPTED) == ()
    assert one.state is AdmissionState.REFUSED
    assert isinstance(one.ended_by, RevokedToken)


@pytest.mark.parametrize(
    ("state", "alone", "receives"),
    [
        (AdmissionState.PENDING, True, False),
        (AdmissionState.DECIDING, True, False),
        (AdmissionState.CONNECTING, True, True),
        (AdmissionState.CONNECTING, False, False),
        (AdmissionState.ADMITTED, False, True),
        (AdmissionState.ENDED, True, False),
    ],
)
def test_who_may_receive(state, alone, receives):
    one = admission()
    one.state = state
    assert (one.may_receive_direct if alone else one.may_receive_broadcast) is receives


def test_error_that_ended_it_keeps_no_frames():
    one, token = admission(), ["header.payload.signature"]

    def verify(presented):
        try:
            raise ValueError(presented)
        except ValueError as error:
            raise MalformedToken("not a token") from error

    one.handle(AdmissionEvent.PRESENT)
    try:
        verify(token)
    except MalformedToken as error:
        one.handle(AdmissionEvent.LAST_BAD_TOKEN, error)
    kept = one.ended_by
    assert (kept.__traceback__, kept.__cause__, kept.__context__) == (None, None, None)
