from __future__ import annotations

import os

import pytest
from support.nodes import SECRET

from roomkey.bus import ClusterSecrets, messages
from roomkey.bus.messages import OVERHEAD, Checker, Dropped, Message, Signer, is_node_id, node_id

SENDER, OTHER, OWN = b"sender", b"other!", b"myself"
NEW_SECRET = "fN3kQ9vX2hLr7TzB5mWc8YpJ1dGs4AeUo6iKxVqHtRy"
NOW = 1_800_000_000.0


class Receiver:
    """A checker whose clocks tests set."""

    def __init__(self, *secrets: str, max_payload: int = 10_000) -> None:
        self.checker = Checker(ClusterSecrets(secrets or [SECRET]), OWN, max_payload, started=NOW - 60)
        self.now, self.monotonic = NOW, 1000.0

    def check(self, payload: bytes, channel: str = "a") -> Message | None:
        return self.checker.check(channel, payload, self.now, self.monotonic)

    def refuses(self, payload: bytes, reason: str, channel: str = "a") -> None:
        with pytest.raises(Dropped) as caught:
            self.check(payload, channel)
        assert str(caught.value) == reason

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.monotonic += seconds


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


def signer(sender: bytes = SENDER, *secrets: str) -> Signer:
    return Signer(ClusterSecrets(secrets or [SECRET]), sender)


@pytest.mark.parametrize("body", [b"", b"\0", os.urandom(5000)])
def test_signed_message_arrives(receiver, body):
    assert receiver.check(signer().sign("a", "emit", body, NOW)) == (node_id(SENDER), "emit", body)


def test_envelope_adds_few_bytes():
    assert len(signer().sign("a", "x" * 32, b"", NOW)) == OVERHEAD


def test_each_changed_byte_is_noticed(receiver):
    payload = signer().sign("a", "emit", b"body", NOW)
    for place in range(len(payload)):
        for change in (1, 128, 255):
            changed = bytearray(payload)
            changed[place] ^= change
            with pytest.raises(Dropped):
                receiver.check(bytes(changed))
    assert receiver.check(payload) is not None


def test_each_cut_message_is_refused(receiver):
    payload = signer().sign("a", "emit", b"body", NOW)
    for length in range(len(payload)):
        with pytest.raises(Dropped):
            receiver.check(payload[:length])
    receiver.refuses(payload + b"x", "bad signature")


@pytest.mark.parametrize("noise", [b"", b"{}", b"\x80\x04\x95pickle", b"\x01" * 60, b"\x01" + b"\0" * 5000])
def test_noise_is_refused(receiver, noise):
    with pytest.raises(Dropped, match=r"malformed|bad signature"):
        receiver.check(noise)


def test_message_of_another_secret_is_refused(receiver):
    receiver.refuses(signer(SENDER, NEW_SECRET).sign("a", "emit", b"", NOW), "bad signature")


def test_message_is_refused_on_another_channel(receiver):
    payload = signer().sign("a", "emit", b"", NOW)
    receiver.refuses(payload, "bad signature", channel="b")
    assert receiver.check(payload) is not None


def test_too_large_message_is_refused_before_its_signature(receiver, monkeypatch):
    payload = signer().sign("a", "emit", b"x" * 10_000, NOW)
    monkeypatch.setattr(messages, "_mac", None)
    receiver.refuses(payload, "too large")


def test_own_message_is_ignored(receiver):
    assert receiver.check(signer(OWN).sign("a", "emit", b"", NOW)) is None


def test_kind_is_short_ascii():
    for kind in ("", "x" * 33, "ä"):
        with pytest.raises(ValueError):
            signer().sign("a", kind, b"", NOW)


# Rotation


def test_secret_rotates_without_an_interruption():
    old, both, new = [SECRET], [SECRET, NEW_SECRET], [NEW_SECRET]
    turned = both[::-1]
    for steps in ((old, both), (both, turned), (turned, new)):
        for sender in steps:
            for receiver in steps:
                assert Receiver(*receiver).check(signer(SENDER, *sender).sign("a", "emit", b"", NOW)) is not None
    Receiver(*new).refuses(signer(SENDER, *old).sign("a", "emit", b"", NOW), "bad signature")


# Repetitions and recordings


def test_each_message_counts_once(receiver):
    sender = signer()
    first, second = sender.sign("a", "emit", b"1", NOW), sender.sign("a", "emit", b"2", NOW)
    assert receiver.check(first) is not None
    receiver.refuses(first, "replayed")
    assert receiver.check(second) is not None
    receiver.refuses(first, "replayed")
    receiver.refuses(second, "replayed")


def test_channels_may_change_places(receiver):
    sender = signer()
    first, second = sender.sign("a", "emit", b"1", NOW), sender.sign("b", "emit", b"2", NOW)
    assert receiver.check(second, "b") is not None
    assert receiver.check(first, "a") is not None


def test_senders_do_not_disturb_each_other(receiver):
    one, two = signer(), signer(OTHER)
    for _ in range(5):
        assert receiver.check(one.sign("a", "emit", b"", NOW)) is not None
    assert receiver.check(two.sign("a", "emit", b"", NOW)) is not None


@pytest.mark.parametrize("wrong_by", [-29.0, -5.0, 5.0, 29.0])
def test_clocks_may_differ(receiver, wrong_by):
    sender = signer()
    for _ in range(200):
        assert receiver.check(sender.sign("a", "emit", b"", receiver.now + wrong_by)) is not None
        receiver.wait(1)


@pytest.mark.parametrize("wrong_by", [-31.0, 31.0, 1e6, -NOW])
def test_message_of_another_time_is_refused(receiver, wrong_by):
    sender = signer()
    receiver.refuses(sender.sign("a", "emit", b"", NOW + wrong_by), "stale")
    assert receiver.check(sender.sign("a", "emit", b"", NOW)) is not None
    receiver.refuses(sender.sign("a", "emit", b"", NOW + wrong_by), "stale")


def test_recording_of_a_dead_sender_is_refused_at_any_later_time(receiver):
    sender = signer()
    recording = []
    for _ in range(100):
        recording.append(sender.sign("a", "emit", b"", receiver.now))
        assert receiver.check(recording[-1]) is not None
        receiver.wait(1)
    for _ in range(400):
        receiver.wait(1)
        receiver.checker.forget(receiver.monotonic)
        for payload in recording:
            with pytest.raises(Dropped):
                receiver.check(payload)


def test_recording_from_before_the_start_is_refused():
    receiver = Receiver()
    receiver.checker = Checker(ClusterSecrets([SECRET]), OWN, 10_000, started=NOW)
    receiver.refuses(signer().sign("a", "emit", b"", NOW - 13), "stale")
    assert receiver.check(signer().sign("a", "emit", b"", NOW - 10)) is not None  # its clock is behind


def test_recording_of_a_forgotten_sender_is_refused_when_the_clock_is_set_back(receiver):
    recording = signer().sign("a", "emit", b"", NOW)
    assert receiver.check(recording) is not None
    receiver.wait(1000)
    receiver.checker.forget(receiver.monotonic)
    receiver.now = NOW
    receiver.refuses(recording, "stale")
    assert receiver.check(signer(OTHER).sign("a", "emit", b"", NOW + 1)) is not None  # that started since then


def test_silent_sender_is_forgotten_and_may_come_back(receiver):
    sender = signer()
    assert receiver.check(sender.sign("a", "emit", b"", receiver.now)) is not None
    receiver.wait(1000)
    receiver.checker.forget(receiver.monotonic)
    assert receiver.checker._senders == {}
    assert receiver.check(sender.sign("a", "emit", b"", receiver.now)) is not None


def test_recording_of_a_channel_is_refused_after_a_later_subscription(receiver):
    sender = signer()
    recording = [sender.sign("b", "emit", b"", NOW) for _ in range(10)]
    assert receiver.check(sender.sign("a", "hello", b"", NOW)) is not None
    receiver.checker.opened("b")
    for payload in recording:
        receiver.refuses(payload, "replayed", "b")
    assert receiver.check(sender.sign("b", "emit", b"", NOW), "b") is not None
    receiver.checker.closed("b")
    receiver.checker.opened("b")
    receiver.refuses(recording[-1], "replayed", "b")


def test_lost_message_is_refused_some_seconds_later(receiver):
    sender = signer()
    lost = [sender.sign("b", "emit", b"", NOW) for _ in range(2)]
    for _ in range(3):
        assert receiver.check(sender.sign("a", "hello", b"", receiver.now)) is not None
        if lost and receiver.now == NOW:
            assert receiver.check(lost[0], "b") is not None  # only a little late
        receiver.wait(messages.MARK_SECONDS)
    receiver.refuses(lost[1], "replayed", "b")


def test_number_of_senders_is_limited_and_nobody_is_forgotten_early(receiver, monkeypatch):
    monkeypatch.setattr(messages, "MAX_SENDERS", 10)
    payloads = [signer(b"%06d" % number).sign("a", "emit", b"", NOW) for number in range(11)]
    for payload in payloads[:10]:
        assert receiver.check(payload) is not None
    receiver.refuses(payloads[10], "too many senders")
    for payload in payloads[:10]:
        receiver.refuses(payload, "replayed")
    receiver.wait(messages.FORGET_SECONDS + 1)
    assert receiver.check(signer(OTHER).sign("a", "emit", b"", receiver.now)) is not None


def test_unsigned_messages_leave_nothing_behind(receiver):
    stranger = signer(SENDER, NEW_SECRET)
    for number in range(1000):
        receiver.refuses(stranger.sign("a", "emit", b"", NOW + number), "bad signature")
    assert receiver.checker._senders == {}


def test_names_of_nodes_are_recognized():
    name = node_id(os.urandom(6))
    assert len(name) == 8
    assert is_node_id(name)
    for text in ("", name[:7], name + "A", name[:7] + "=", name[:7] + "+", name[:7] + "é", name[:7] + "\n"):
        assert not is_node_id(text)
