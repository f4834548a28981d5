"""The algorithms of the keys of other servers, if a preset names them."""

from __future__ import annotations

import pytest

from roomkey import ConfigError, Verifier
from roomkey.core.presets import ASYMMETRIC

URL = "https://login.example"


@pytest.mark.parametrize("make", [Verifier.jwks, Verifier.oidc])
def test_preset_names_the_algorithms_of_remote_keys(make):
    assert make(URL, preset="google", audience="a").algorithms == ("RS256",)
    assert make(URL, preset="keycloak", audience="a").algorithms == ASYMMETRIC
    assert make(URL, preset="google", audience="a", algorithms=["ES256"]).algorithms == ("ES256",)
    assert not {name for name in make(URL, preset="simplejwt").algorithms if name.startswith("HS")}
    with pytest.raises(ConfigError):
        make(URL, preset="google", audience="a", algorithms=[])
    with pytest.raises(ConfigError, match="unknown preset"):
        make(URL, preset="gogle", audience="a")
