"""Acknowledgement callbacks expire."""

from __future__ import annotations

from roomkey.core.ack_expiry import ACK_SECONDS, AckExpiry


def test_requested_returns_sockets_with_expired_callbacks():
    expiry = AckExpiry()
    assert expiry.requested("a", 0) == []
    assert expiry.requested("b", 1) == []
    assert expiry.requested("a", 2) == []
    assert expiry.requested("c", ACK_SECONDS + 1) == ["b"]
    expiry.forget("a")
    assert expiry.requested("c", 3 * ACK_SECONDS) == []
    assert expiry.requested("d", 5 * ACK_SECONDS) == ["c"]
