from __future__ import annotations

import pytest
from support.nodes import SECRET

from roomkey import ConfigError
from roomkey.bus import ClusterSecrets

OTHER = b"\x01\x93" + bytes(range(100, 130))


def test_first_secret_signs_and_both_verify():
    both = ClusterSecrets([SECRET, OTHER])
    assert both.keys("message") == (*ClusterSecrets([SECRET]).keys("message"), *ClusterSecrets([OTHER]).keys("message"))


def test_keys_of_each_purpose_differ():
    secrets = ClusterSecrets([SECRET])
    keys = {secrets.keys(purpose)[0] for purpose in ("message", "journal", "sid", "peer")}
    assert len(keys) == 4
    assert {len(key) for key in keys} == {32}


@pytest.mark.parametrize(
    ("secrets", "problem"),
    [
        ([], "must have one secret, or two"),
        ([SECRET] * 3, "must have one secret, or two"),
        (SECRET, "must be a list"),
        (["short"], "invalid cluster secret: it has 5 bytes, but must have at least 32; generate"),
        (["x" * 32], "invalid cluster secret"),
        ([SECRET + "\n"], "ends with a line break"),
        ([7], "of type int"),
    ],
)
def test_invalid_secrets_are_refused_without_quoting_them(secrets, problem):
    with pytest.raises(ConfigError, match=problem) as caught:
        ClusterSecrets(secrets)
    assert SECRET not in str(caught.value)


def test_secrets_do_not_appear_in_their_text():
    assert repr(ClusterSecrets([SECRET])) == "ClusterSecrets(1)"
