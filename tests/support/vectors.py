"""The test vectors of the folder ``vectors``: verifiers of written settings, and verdicts as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from roomkey import ConfigError, DPoP, Identity, Key, KeySet, Verifier
from roomkey.core.any_of import TokenVerifier
from roomkey.core.credentials import Handshake, Request, find_credential, from_event, missing_credential
from roomkey.core.dpop import check_binding, check_proof
from roomkey.core.grants import granted_actions, grants
from roomkey.errors import AuthError

FOLDER = Path(__file__).parents[2] / "vectors"
HMAC = {"HS256": Verifier.hs256, "HS384": Verifier.hs384, "HS512": Verifier.hs512}


def read(name: str) -> dict[str, Any]:
    """One file of the folder."""
    loaded: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    return loaded


def verifier_of(settings: dict[str, Any]) -> TokenVerifier:
    """Make a verifier of written settings.

    Raises:
        ConfigError: settings that must fail.
    """
    if "any_of" in settings:
        return Verifier.any_of(*(verifier_of(written) for written in settings["any_of"]))
    options = dict(settings)
    keys = options.pop("keys")
    if "secret" in keys:
        previous = tuple(keys["previous"]) if "previous" in keys else None
        make = HMAC[keys.get("algorithm", "HS256")]
        insecure = keys.get("insecure_short_secret", False)
        return make(keys["secret"], kid=keys.get("kid"), previous=previous, insecure_short_secret=insecure, **options)
    if "pem" in keys:
        return Verifier.pem(keys["pem"], kid=keys.get("kid"), **options)
    if "issuers" in keys:
        return Verifier({issuer: _key_set(jwks, keys) for issuer, jwks in keys["issuers"].items()}, **options)
    return Verifier(_key_set(keys["jwks"], keys), **options)


def _key_set(jwks: Any, keys: dict[str, Any]) -> KeySet:
    if keys.get("strict"):  # keys of the application's own choice: nothing is left out
        return KeySet(Key.from_jwk(jwk) for jwk in jwks["keys"])
    return KeySet.from_jwks(jwks, allow_symmetric=keys.get("allow_symmetric", False))


def token_of(vector: dict[str, Any]) -> object:
    """The token of a vector; long ones are written as a text and a number."""
    repeated = vector.get("token_repeated")
    return vector.get("token") if repeated is None else repeated["text"] * repeated["times"]


def told(who: Identity) -> dict[str, Any]:
    """An identity as the vectors write it."""
    return {
        "subject": who.subject,
        "issuer": who.issuer,
        "roles": sorted(who.roles),
        "scopes": sorted(who.scopes),
        "rooms": sorted(who.rooms),
        "expires_at": who.expires_at,
        "issued_at": who.issued_at,
        "token_id": who.token_id,
        "session_id": who.session_id,
        "claims": dict(who.claims),
    }


def verdict(verifier: TokenVerifier, token: object, now: float) -> dict[str, Any]:
    """Decide on one token."""
    try:
        return {"accepted": told(verifier.verify(token, now))}
    except AuthError as error:
        return {"rejected": error.to_client()}


def config_verdict(settings: dict[str, Any]) -> str:
    """``valid``, or ``config_error`` for settings that must fail at startup."""
    return _validity(lambda: verifier_of(settings))


def _validity(make: Callable[[], object]) -> str:
    try:
        make()
    except ConfigError:
        return "config_error"
    return "valid"


def key_set_verdict(vector: dict[str, Any]) -> dict[str, Any]:
    """Which keys of a JWK Set are used, with their algorithms, and how many are left out."""
    try:
        loaded = KeySet.from_jwks(vector["jwks"])
    except ConfigError:
        return {"config_error": True}
    keys = sorted([key.kid, sorted(key.algorithms)] for key in loaded)
    return {"keys": keys, "left_out": len(loaded.refused)}


def presented(vector: dict[str, Any]) -> dict[str, Any]:
    """Find the token that a handshake or an ``authenticate`` event presents."""
    try:
        if "event" in vector:
            found = from_event(tuple(vector["event"]))
        else:
            request = Request(**vector.get("request", {}))
            way = Handshake(**vector["sources"])
            credential = find_credential(way, vector.get("auth"), request)
            if credential is None:
                raise missing_credential(way)
            found = credential
    except AuthError as error:
        return {"rejected": error.to_client()}
    proof = {} if found.proof is None else {"proof": found.proof}
    return {"found": {"token": found.token, "source": found.source, **proof}}


def sources_verdict(sources: dict[str, Any]) -> str:
    """Return "valid", or "config_error" for sources that must fail."""
    try:
        Handshake(**sources)
    except ConfigError:
        return "config_error"
    return "valid"


def proof_settings_of(settings: dict[str, Any]) -> DPoP:
    """Make the settings for DPoP proofs.

    Raises:
        ConfigError: settings that must fail.
    """
    return DPoP(**settings)


def proof_config_verdict(settings: dict[str, Any]) -> str:
    """``valid``, or ``config_error`` for settings that must fail at startup."""
    return _validity(lambda: proof_settings_of(settings))


def proof_verdict(settings: DPoP, vector: dict[str, Any], token: str, now: float) -> dict[str, Any]:
    """Decide on one DPoP proof; the vector may have another token and another time."""
    try:
        proof = check_proof(settings, vector["proof"], vector.get("token", token), vector.get("now", now))
    except AuthError as error:
        return {"rejected": error.to_client()}
    return {"accepted": {"key": proof.key, "id": proof.id, "issued_at": proof.issued_at}}


def binding_verdict(claims: dict[str, Any], proved_key: str | None) -> dict[str, Any]:
    """Decide whether a token may be presented with, or without, a proved key."""
    try:
        check_binding(claims, proved_key)
    except AuthError as error:
        return {"rejected": error.to_client()}
    return {"accepted": True}


def is_granted(vector: dict[str, Any]) -> bool:
    """Whether a ``rooms`` claim grants to join a room, or to emit an event to it."""
    return grants(granted_actions(vector["rooms"]), vector["room"], vector.get("event"))
