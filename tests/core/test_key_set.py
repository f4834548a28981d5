"""Sets of keys: finding a key, and JWK Sets. (Rejected keys: tests/security, A19.)"""

from __future__ import annotations

import pytest

from roomkey import ConfigError, Key, KeySet


def test_key_set_finds_keys_by_kid(every_key):
    two = KeySet([every_key["ES256"], every_key["RS256"]])
    assert two.get("ES256") is every_key["ES256"]
    assert two.get("es256") is None
    assert two.only() is None
    assert len(two) == len(list(two)) == 2
    assert KeySet([every_key["ES256"]]).only() is every_key["ES256"]
    for keys in ([], [Key.generate("ES256", kid="k"), Key.generate("ES256", kid="k")]):
        with pytest.raises(ConfigError):
            KeySet(keys)
    twice = KeySet([every_key["ES256"].public(), every_key["ES256"]])
    assert [key.is_private for key in twice] == [True]
    assert len(KeySet.from_pem(every_key["ES256"].to_pem(), every_key["RS256"].to_pem())) == 2


def test_jwks_round_trip(every_key):
    published = KeySet(every_key.values()).to_jwks()
    assert {key.kid for key in KeySet.from_jwks(published)} == {name for name in every_key if not name.startswith("HS")}
    kept = KeySet(every_key.values()).to_jwks(private=True)
    assert len(KeySet.from_jwks(kept, allow_symmetric=True)) == len(every_key)
    assert {kid for kid, _ in KeySet.from_jwks(kept).refused} == {"HS256", "HS384", "HS512"}
