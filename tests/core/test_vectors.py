"""The vectors that verifiers of every language run (``vectors/README.md``)."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support import remote_vectors, vectors

from roomkey.core.dpop import normal_url

TOKENS = vectors.read("tokens")
VERIFIERS = {name: vectors.verifier_of(settings) for name, settings in TOKENS["verifiers"].items()}


def with_each(listed: list[dict[str, Any]]) -> Callable[[Callable[[Any], None]], Callable[[], None]]:
    """Try each vector in one test, and name those that fail: two thousand tests would mostly be pytest's own work."""

    def decorate(check: Callable[[Any], None]) -> Callable[[], None]:
        def test() -> None:
            failures = {vector["name"]: failure for vector in listed if (failure := failure_of(check, vector))}
            assert not failures, "\n".join(f"{name}: {failure}" for name, failure in failures.items())

        test.__name__ = check.__name__
        return test

    return decorate


def failure_of(check: Callable[[Any], None], vector: dict[str, Any]) -> str:
    try:
        check(vector)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def as_json(value: Any) -> Any:
    return json.loads(json.dumps(value))


@with_each(TOKENS["vectors"])
def test_token_gets_the_verdict_of_the_vector(vector):
    found = vectors.verdict(VERIFIERS[vector["verifier"]], vectors.token_of(vector), vector.get("now", TOKENS["now"]))
    assert as_json(found) == {name: vector[name] for name in ("accepted", "rejected") if name in vector}


@with_each(vectors.read("settings")["vectors"])
def test_settings_are_valid_or_fail(vector):
    assert vectors.config_verdict(vector["settings"]) == vector["verdict"]


@with_each(vectors.read("key_sets")["vectors"])
def test_key_set_uses_the_keys_of_the_vector(vector):
    expected = {name: vector[name] for name in ("keys", "left_out", "config_error") if name in vector}
    assert vectors.key_set_verdict(vector) == expected


@with_each(vectors.read("credentials")["vectors"])
def test_presented_token_is_found(vector):
    expected = {name: vector[name] for name in ("found", "rejected") if name in vector}
    assert as_json(vectors.presented(vector)) == expected


@with_each(vectors.read("grants")["vectors"])
def test_grant_is_read_as_in_the_vector(vector):
    assert vectors.is_granted(vector) is vector["granted"]


REMOTE = vectors.read("remote_keys")


@with_each(REMOTE["states"])
def test_remote_keys_take_the_steps_of_the_vector(vector):
    assert remote_vectors.replay(vector["steps"], vectors.read("keys")["private"]) == vector["steps"]


@with_each(REMOTE["key_sets"])
def test_answer_has_the_keys_of_the_vector(vector):
    expected = {name: vector[name] for name in ("keys", "left_out", "discarded") if name in vector}
    assert remote_vectors.key_set_verdict(vector) == expected


@with_each(REMOTE["discovery"])
def test_discovery_document_is_read_as_in_the_vector(vector):
    expected = {name: vector[name] for name in ("jwks_uri", "offered", "discarded") if name in vector}
    assert remote_vectors.discovery_verdict(vector) == expected


PROOFS = vectors.read("proofs")
PROOF_SETTINGS = {name: vectors.proof_settings_of(settings) for name, settings in PROOFS["settings"].items()}


@with_each(PROOFS["vectors"])
def test_proof_gets_the_verdict_of_the_vector(vector):
    found = vectors.proof_verdict(PROOF_SETTINGS[vector["settings"]], vector, PROOFS["token"], PROOFS["now"])
    assert as_json(found) == {name: vector[name] for name in ("accepted", "rejected") if name in vector}


@with_each(PROOFS["bindings"])
def test_binding_gets_the_verdict_of_the_vector(vector):
    found = vectors.binding_verdict(vector["claims"], vector["proved_key"])
    assert found == {name: vector[name] for name in ("accepted", "rejected") if name in vector}


def test_settings_for_proofs_and_urls_are_read_as_in_the_vectors():
    for vector in PROOFS["setting_verdicts"]:
        assert vectors.proof_config_verdict(vector["settings"]) == vector["verdict"], vector["name"]
    assert {vector["url"]: normal_url(vector["url"]) for vector in PROOFS["urls"]} == {
        vector["url"]: vector["normal"] for vector in PROOFS["urls"]
    }


def test_vectors_are_those_that_the_script_writes():
    script = Path(__file__).parents[2] / "scripts" / "vectors.py"
    done = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr


def test_vectors_cover_every_row_of_the_contract():
    messages = {vector["rejected"]["message"] for vector in TOKENS["vectors"] if "rejected" in vector}
    messages |= {
        vector["rejected"]["message"] for vector in vectors.read("credentials")["vectors"] if "rejected" in vector
    }
    assert messages >= {
        "no token provided", "Format is Authorization: Bearer [token]", "Server requires Authorization Header",
        "invalid token datatype", "jwt expired", "jwt not active", "invalid signature", "jwt malformed",
        "jwt signature is required", "invalid algorithm", "jwt audience invalid. expected: chat", "invalid token",
        "jwt issuer invalid. expected: https://login.example", "jwt must be provided", "invalid exp value",
        "invalid nbf value", "maxAge exceeded", "more than one token provided",
    }  # fmt: skip
    assert len(TOKENS["vectors"]) >= 300
