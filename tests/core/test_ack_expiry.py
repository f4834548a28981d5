"""Sockets that were asked for acknowledgements are remembered for a while."""

from __future__ import annotations

from roomkey.core.ack_expiry import ACK_SECONDS, AckExpiry


def test_asked_names_the_sockets_that_did_not_answer_for_long():
    expiry = AckExpiry()
    assert expiry.requested("a", 0) == []
    assert expiry.requested("b", 1) == []
    assert expiry.requested("a", 2) == []
    assert expiry.requested("c", ACK_SECONDS + 1) == ["b"]
    expiry.forget("a")
    assert expiry.requested("c", 3 * ACK_SECONDS) == []
    assert expiry.requested("d", 5 * ACK_SECONDS) == ["c"]
