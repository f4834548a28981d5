"""Sockets that were asked for acknowledgements are remembered for a while."""

from __future__ import annotations

from roomkey.core.asked import ACK_SECONDS, Asked


def test_asked_names_the_sockets_that_did_not_answer_for_long():
    asked = Asked()
    assert asked.ask("a", 0) == []
    assert asked.ask("b", 1) == []
    assert asked.ask("a", 2) == []
    assert asked.ask("c", ACK_SECONDS + 1) == ["b"]
    asked.forget("a")
    assert asked.ask("c", 3 * ACK_SECONDS) == []
    assert asked.ask("d", 5 * ACK_SECONDS) == ["c"]
