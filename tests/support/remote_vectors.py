"""The vectors about keys of other servers: ``vectors/remote_keys.json``."""

from __future__ import annotations

from typing import Any

from roomkey import Key
from roomkey.core.key_set import KeySet
from roomkey.keysets.remote import ASYMMETRIC
from roomkey.keysets.remote_answers import AnswerError, parse_discovery, parse_key_set
from roomkey.keysets.remote_state import RemoteState

Step = dict[str, Any]


def replay(steps: list[Step], private: dict[str, Any]) -> list[Step]:
    """Return the steps with what must come out of each.

    Args:
        steps: what happens, in order, with its time ``at``: ``look_up`` (a kid), ``start``, ``fail`` or ``succeed``
            (the answer: pairs of a kid, and the name of a key of ``keys.json``).
        private: the keys of ``keys.json``.
    """
    state = RemoteState()
    names = {Key.from_jwk(jwk).thumbprint(): name for name, jwk in private.items()}
    return [_replayed(state, step, private, names) for step in steps]


def _replayed(state: RemoteState, step: Step, private: dict[str, Any], names: dict[str, str]) -> Step:
    at, seen = step["at"], {"at": step["at"]}
    if "look_up" in step:
        seen |= {"look_up": step["look_up"], "next": state.look_up(step["look_up"], at).value}
    elif "start" in step:
        seen |= {"start": True, "number": state.start(at)}
    elif "fail" in step:
        state.fail(at)
        seen |= {"fail": True, "failures": state.failures}
    else:
        answer = KeySet(Key.from_jwk({**private[name], "kid": kid}).public() for kid, name in step["succeed"])
        _, exchanged = state.succeed(answer, at)
        seen |= {"succeed": step["succeed"], "exchanged": sorted(exchanged)}
    keys = state.usable(at)
    return seen | {
        "keys": None if keys is None else sorted([key.kid, names[key.thumbprint()]] for key in keys),
        "due": state.is_due(at),
        "fetching": state.is_fetching(at),
    }


def key_set_verdict(vector: dict[str, Any]) -> dict[str, Any]:
    """Return the keys of an answer with their algorithms, and how many are left out; or that it is discarded."""
    try:
        found = parse_key_set(body_of(vector), vector.get("algorithms", ASYMMETRIC), vector.get("offered"))
    except AnswerError:
        return {"discarded": True}
    keys = sorted([key.kid, list(key.algorithms)] for key in found)
    return {"keys": keys, "left_out": len(found.refused)}


def discovery_verdict(vector: dict[str, Any]) -> dict[str, Any]:
    """Return what a discovery document says, or that it is discarded."""
    try:
        found = parse_discovery(body_of(vector), vector["issuer"])
    except AnswerError:
        return {"discarded": True}
    return {"jwks_uri": found.jwks_uri, "offered": None if found.algorithms is None else list(found.algorithms)}


def body_of(vector: dict[str, Any]) -> bytes:
    """Return the body of an answer."""
    return str(vector["body"]).encode("utf-8", "surrogatepass")
