"""Measure the cost of a verification, compared with its signature check and with the decode of other libraries.

    python bench/verify.py [--json FILE] [--write]

The bound: a verification costs at most 1.3 times its signature check plus 20 us. Every number is the median over
many short rounds, in which all contestants take turns, of the processor time of this thread: what other programs take
away is not counted. What they do to the processor's caches and clock still shows, and the bound's 20 us do not stretch
with it; so the verdict is on the quietest tenth of the rounds ("quiet"), and the median stands next to it.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
import warnings
from collections.abc import Callable

import figures
import jwt
from joserfc import jwt as jose_jwt
from joserfc.jwk import import_key

from roomkey import Issuer, Key
from roomkey.core import jws

ALGORITHMS = ("HS256", "RS256", "ES256", "EdDSA")
ROUNDS = 501
CALLS = 20
FACTOR, ALLOWANCE = 1.3, 20.0


def contestants(algorithm: str) -> dict[str, Callable[[], object]]:
    """Return the calls to measure, for one token of a usual size, of which every claim is checked."""
    key = Key.generate(algorithm, kid="bench")
    issuer = Issuer(key, issuer="https://login.example", audience="chat")
    token = issuer.issue("ada", roles=["member"], rooms=["red", "blue"], session_id="s1")
    verifier, now = issuer.verifier(), time.time()
    jwk = key.to_jwk(private=algorithm == "HS256")
    jose_key, jose_claims = import_key(jwk), jose_jwt.JWTClaimsRegistry()
    pyjwt_key = jwt.PyJWK(jwk).key
    parts = jws.split(token)

    def by_joserfc() -> None:
        jose_claims.validate(jose_jwt.decode(token, jose_key, algorithms=[algorithm]).claims)

    def by_pyjwt() -> None:
        jwt.decode(token, pyjwt_key, algorithms=[algorithm], audience="chat", issuer="https://login.example")

    return {
        "signature": lambda: key.verify(algorithm, parts.signing_input, parts.signature),
        "roomkey": lambda: verifier.verify(token, now),
        "joserfc": by_joserfc,
        "PyJWT": by_pyjwt,
    }


def measure(calls: dict[str, Callable[[], object]]) -> dict[str, list[float]]:
    """Return the sorted microseconds of each call; the calls take turns."""
    rounds: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(ROUNDS):
        for name, call in calls.items():
            start = time.thread_time()
            for _ in range(CALLS):
                call()
            rounds[name].append((time.thread_time() - start) / CALLS * 1e6)
    return {name: sorted(taken) for name, taken in rounds.items()}


def row_of(rounds: dict[str, list[float]]) -> dict[str, float]:
    """Return medians, the bound, and the part of it that was used, by the medians and in the quietest tenth."""
    row = {name: statistics.median(taken) for name, taken in rounds.items()}
    row["bound"] = FACTOR * row["signature"] + ALLOWANCE
    row["of bound"] = row["roomkey"] / row["bound"]
    tenth = {name: taken[len(taken) // 10] for name, taken in rounds.items()}
    row["quiet"] = tenth["roomkey"] / (FACTOR * tenth["signature"] + ALLOWANCE)
    return {name: round(value, 2) for name, value in row.items()}


def main() -> int:
    """Print the table; the exit status is 1 if a verification is over its bound."""
    parser = argparse.ArgumentParser(description="What one verification costs.")
    parser.add_argument("--json", metavar="FILE", help="write the numbers there too")
    parser.add_argument("--write", action="store_true", help="renew the table in docs/performance.md")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # joserfc's, about the name EdDSA
    rows, shown = {}, []
    columns = ("signature", "roomkey", "bound", "of bound", "quiet", "joserfc", "PyJWT")
    print("us".ljust(8) + "".join(name.rjust(11) for name in columns))
    for algorithm in ALGORITHMS:
        row = rows[algorithm] = row_of(measure(contestants(algorithm)))
        cells = [f"{row[name]:.2f}" if name in ("of bound", "quiet") else f"{row[name]:.1f}" for name in columns]
        shown.append([algorithm, *cells])
        print(algorithm.ljust(8) + "".join(value.rjust(11) for value in cells))
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"python": platform.python_version(), "us": rows}, file, indent=2)
            file.write("\n")
    if options.write:
        head = ["µs", "signature check", "roomkey, whole", "bound", "of bound", "quietest tenth", "joserfc", "PyJWT"]
        figures.write("verify", figures.table(head, shown))
    return 1 if any(row["quiet"] > 1 for row in rows.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
