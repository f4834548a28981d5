"""Expectations of the test kit fail when they should."""

from __future__ import annotations

import pytest

from roomkey import PermissionDenied
from roomkey.testing import Closed, Event, Received, Refused, assert_refused

EXPIRED = {"message": "jwt expired", "code": "invalid_token", "type": "UnauthorizedError", "reason": "token_expired"}


def test_assert_refused_fails_if_nothing_is_refused():
    with pytest.raises(AssertionError, match="nothing was refused; expected a refusal with any code"), assert_refused():
        pass


@pytest.mark.parametrize(
    "expected", [{"code": "permission_denied"}, {"reason": "token_revoked"}, {"message": "x"}, {"status": 403}]
)
def test_assert_refused_fails_for_another_refusal(expected):
    with pytest.raises(AssertionError, match="expected"), assert_refused(**expected):
        raise Refused("jwt expired", EXPIRED)


def test_assert_refused_passes_other_exceptions():
    with pytest.raises(KeyError), assert_refused():
        raise KeyError("a bug")


def test_assert_refused_accepts_the_expected_refusal_and_keeps_it():
    with assert_refused(code="invalid_token", reason="token_expired", message="jwt expired") as refused:
        raise Refused("jwt expired", EXPIRED)
    assert refused.error.data == EXPIRED


def test_assert_refused_accepts_errors_of_the_guard():
    with assert_refused(code="permission_denied"):
        raise PermissionDenied


def test_refusal_of_a_request_has_its_status():
    error = Refused("Forbidden", status=403)
    assert (error.code, error.reason, error.status, str(error)) == ("", None, 403, "Forbidden, 403")


def test_received_returns_data_by_name():
    received = Received([Event("a", (1,)), Event("b", ()), Event("a", (2, 3))])
    assert received("a") == [1, (2, 3)]
    assert received("b") == [None]
    assert received("c") == []


def test_closed_tells_what_the_guard_said():
    told = Closed.told("transport close", {"message": "jwt expired", "data": EXPIRED})
    assert (told.code, told.reason, told.message, told.reconnects) == (
        "invalid_token",
        "token_expired",
        "jwt expired",
        True,
    )
    assert Closed.told("io server disconnect", None) == Closed("io server disconnect")
