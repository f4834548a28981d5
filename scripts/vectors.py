"""Write the test vectors: tokens, keys, settings and verdicts for the verifiers of every language.

    python scripts/vectors.py           # writes vectors/*.json
    python scripts/vectors.py --check   # fails if they differ from what is committed

The verdicts are those of the Python verifier. Each case says what is expected, so that a mistake is not written down.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests")]

import vector_claims  # noqa: E402
import vector_issuers  # noqa: E402
import vector_journal  # noqa: E402
import vector_keys  # noqa: E402
import vector_proofs  # noqa: E402
import vector_remote  # noqa: E402
import vector_remote_keys  # noqa: E402
import vector_settings  # noqa: E402
import vector_signatures  # noqa: E402
import vector_tokens  # noqa: E402
import vector_verifiers  # noqa: E402
from support import vectors  # noqa: E402
from support.tokens import unb64  # noqa: E402
from vector_forge import GENERATED, NOW, OLD_SECRET, SECRET_512, SHORT_SECRET, Forge  # noqa: E402

from roomkey import Key, errors  # noqa: E402
from roomkey.core.dpop import normal_url  # noqa: E402
from roomkey.core.presets import PRESETS  # noqa: E402
from roomkey.guard import contract  # noqa: E402

OTHER_SECRET = "vectors-another-secret-of-nobody-abcdefgh"
ASKED = {
    "form": ("hs256", vector_tokens.form),
    "claims": ("hs256", vector_claims.claims),
    "keys": (None, vector_keys.keys),
    "settings": (None, vector_verifiers.settings),
    "long": ("hs256", vector_tokens.long),
    "claims_map": (None, vector_issuers.claims_map),
    "presets": (None, vector_issuers.presets),
    "signatures": (None, vector_signatures.signatures),
    "issuers": (None, vector_remote.issuers),
}


def signing_keys() -> dict[str, dict[str, Any]]:
    """The private keys of the vectors, made once."""
    path = vectors.FOLDER / "keys.json"
    if path.exists():
        return dict(vectors.read("keys")["private"])
    return {kid: Key.generate(algorithm, kid=kid).to_jwk(private=True) for kid, algorithm in GENERATED.items()}


def earlier_signatures() -> dict[tuple[str, str], str]:
    """Signatures of the committed files, by key and signing input."""
    files = [name for name in ("tokens", "proofs") if (vectors.FOLDER / f"{name}.json").exists()]
    found: dict[tuple[str, str], str] = {}
    for vector in (vector for name in files for vector in vectors.read(name)["vectors"]):
        token = vector.get("proof", vector.get("token"))
        if isinstance(token, str) and token.count(".") == 2:
            signing_input, _, signature = token.rpartition(".")
            try:
                unb64(signature)
            except ValueError:
                continue
            for kid in GENERATED:
                found.setdefault((kid, signing_input), signature)
    return found


def forge() -> Forge:
    """Sign with the keys of the vectors."""
    made = Forge(signing_keys(), earlier_signatures())
    made.keys["k512"] = Key.from_secret(SECRET_512, algorithm="HS512")
    made.keys["old"] = Key.from_secret(OLD_SECRET)
    made.keys["tiny"] = replace(Key._from_short_secret(SHORT_SECRET, algorithm="HS256"), is_private=True)
    made.keys["other"] = Key.from_secret(OTHER_SECRET)
    made.keys["r1u"] = Key.from_jwk(
        {name: value for name, value in made.jwks["r1"].items() if name not in ("alg", "use")}
    )
    return made


def tokens(f: Forge) -> dict[str, Any]:
    """``tokens.json``."""
    settings = vector_verifiers.verifiers(f) | vector_issuers.verifiers(f) | vector_remote.verifiers(f)
    made = {name: vectors.verifier_of(written) for name, written in settings.items()}
    listed = []
    for group, verifier, name, token, expected, more in _cases(f):
        vector = {"name": f"{group}: {name}", "verifier": verifier, "token": token, **more}
        verdict = vectors.verdict(made[verifier], token, more.get("now", NOW))
        found = "ok" if "accepted" in verdict else verdict["rejected"]["message"]
        if expected is not None and found != expected:
            raise SystemExit(f"{vector['name']}: {found}, expected {expected}")
        listed.append(vector | verdict)
    for text, times in ((".", 8192), (".", 100_000), ("x", 1_000_000), ("eyJ", 30_000)):
        vector = {
            "name": f"long: {text} {times} times",
            "verifier": "hs256",
            "token_repeated": {"text": text, "times": times},
        }
        listed.append(vector | vectors.verdict(made["hs256"], text * times, NOW))
    _check_names(listed)
    return {"now": NOW, "verifiers": settings, "vectors": listed}


def proofs(f: Forge) -> dict[str, Any]:
    """``proofs.json``."""
    made = {name: vectors.proof_settings_of(written) for name, written in vector_proofs.SETTINGS.items()}
    token, listed = vector_proofs.Prover(f).token, []
    for settings, name, proof, expected, *more in vector_proofs.proofs(f):
        vector = {"name": name, "settings": settings, "proof": proof, **(more[0] if more else {})}
        verdict = vectors.proof_verdict(made[settings], vector, token, NOW)
        found = "ok" if "accepted" in verdict else verdict["rejected"]["message"]
        if found != expected:
            raise SystemExit(f"{name}: {found}, expected {expected}")
        listed.append(vector | verdict)
    _check_names(listed)
    bound = [
        {"name": name, "claims": claims, "proved_key": key, **vectors.binding_verdict(claims, key)}
        for name, claims, key in vector_proofs.bindings(f)
    ]
    settings = [
        {"name": name, "settings": written, "verdict": vectors.proof_config_verdict(written)}
        for name, written in (vector_proofs.SETTINGS | vector_proofs.NO_SETTINGS).items()
    ]
    return {
        "now": NOW,
        "token": token,
        "settings": vector_proofs.SETTINGS,
        "vectors": listed,
        "bindings": bound,
        "setting_verdicts": settings,
        "urls": [{"url": url, "normal": normal_url(url)} for url in vector_proofs.URLS],
    }


def _check_names(listed: list[dict[str, Any]]) -> None:
    names = [vector["name"] for vector in listed]
    if len(set(names)) != len(names):
        raise SystemExit(f"two vectors have one name: {sorted(name for name in set(names) if names.count(name) > 1)}")


def _cases(f: Forge) -> Iterator[tuple[str, str, str, Any, str | None, dict[str, Any]]]:
    for group, (verifier, generate) in ASKED.items():
        for case in generate(f):
            asked, *rest = case if verifier is None else (verifier, *case)
            name, token, expected, *more = rest
            yield group, asked, name, token, expected, more[0] if more else {}


def wire_contract() -> dict[str, Any]:
    """``contract.json``: the events, and what each class of error tells a client."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.AuthError)]
    told = [
        {"name": kind.__name__, "code": kind.code, "reason": kind.reason, "retry": kind.retry, "message": kind.text}
        for kind in kinds
        if kind.__name__ in errors.__all__
    ]
    events = {name: list(members) for name, members in contract.EVENTS_TO_CLIENT.items()}
    return {"errors": told, "server_events": events, "client_events": sorted(contract.EVENTS_FROM_CLIENT)}


def presets() -> dict[str, Any]:
    """``presets.json``: the settings of each preset, as an application would write them."""
    written = {
        name: {setting: value for setting, value in asdict(preset).items() if value} for name, preset in PRESETS.items()
    }
    return {"presets": written}


def everything() -> dict[str, dict[str, Any]]:
    """Every file of the folder, by name."""
    f = forge()
    settings = [
        {"name": name, "settings": value, "verdict": vectors.config_verdict(value)}
        for name, value in vector_settings.settings(f).items()
    ]
    key_sets = [
        {"name": name, "jwks": jwks, **vectors.key_set_verdict({"jwks": jwks})}
        for name, jwks in vector_settings.key_sets(f).items()
    ]
    presented = [
        {"name": name, **value, **vectors.presented(value)} for name, value in vector_settings.credentials().items()
    ]
    granted = [
        {"name": name, **value, "granted": vectors.is_granted(value)}
        for name, value in vector_settings.grants().items()
    ]
    return {
        "keys": {"warning": "These private keys are public. Use them for tests only.", "private": f.jwks},
        "tokens": tokens(f),
        "proofs": proofs(f),
        "settings": {"vectors": settings},
        "key_sets": {"vectors": key_sets},
        "credentials": {
            "vectors": presented,
            "sources": [
                {"sources": each, "verdict": vectors.sources_verdict(each)} for each in vector_settings.SOURCES
            ],
        },
        "grants": {"vectors": granted},
        "presets": presets(),
        "remote_keys": vector_remote_keys.remote_keys(f),
        "contract": wire_contract(),
        "journal": vector_journal.journal(),
    }


def main() -> None:
    """Write the files, or compare them with those that are there."""
    different = []
    for name, content in everything().items():
        path = vectors.FOLDER / f"{name}.json"
        text = json.dumps(content, ensure_ascii=True, indent=1) + "\n"
        if not path.exists() or path.read_text("utf-8") != text:
            different.append(path.name)
            if "--check" not in sys.argv:
                path.write_text(text, "utf-8")
    if different and "--check" in sys.argv:
        raise SystemExit(f"run python scripts/vectors.py: {', '.join(different)} would change")
    print("changed:", ", ".join(different) or "nothing")


if __name__ == "__main__":
    main()
