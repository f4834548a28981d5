"""The routes keep to their OpenAPI document, whatever is sent: schemathesis makes the requests."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import SearchStrategy
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from support.live import serve
from support.oauth import BASIC, SECRET, Desk

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
EXAMPLES = 10  # of each kind for each of the thirteen routes
BOUNDED = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def ask_everything(url: str, document: dict[str, Any], sent: Callable[[], dict[str, Any]]) -> dict[str, Counter[int]]:
    """What each route answered how often; raises where that is not in the document."""
    answered: dict[str, Counter[int]] = {}
    for found in schemathesis.openapi.from_dict(document).get_all_operations():
        operation = found.ok()
        seen = answered[operation.label] = Counter()
        # Any text is as good as any other in a path or a query; only a body can be wrong.
        for mode in GenerationMode if operation.body else [GenerationMode.POSITIVE]:
            ask(operation.as_strategy(mode), seen, url, sent)
    return answered


def ask(cases: SearchStrategy[Case], seen: Counter[int], url: str, sent: Callable[[], dict[str, Any]]) -> None:
    @BOUNDED
    @given(case=cases)
    def answers_as_documented(case: Case) -> None:
        answer = case.call(base_url=url, allow_redirects=False, **sent())
        seen[answer.status_code] += 1
        case.validate_response(answer, checks=CHECKS)

    answers_as_documented()


@pytest.mark.parametrize("who", ["nobody", "a client", "a person"])
async def test_no_server_error_and_no_undocumented_answer(who):
    async with Desk.opened() as desk, serve(desk.app) as address:

        def new_token() -> str:
            desk.clock.advance(1)  # past what the route before may have revoked
            return desk.issuer.issue("ada", session_id=secrets.token_hex(4))

        sent: dict[str, Callable[[], dict[str, Any]]] = {
            "nobody": dict,
            "a client": lambda: {"auth": BASIC},
            "a person": lambda: {"headers": {"Authorization": f"Bearer {new_token()}"}},
        }
        answered = await asyncio.to_thread(ask_everything, f"http://{address}", desk.app.openapi(), sent[who])
    assert len(answered) == 13
    assert not any(status >= 500 for seen in answered.values() for status in seen)
    reached = {
        "nobody": ("POST /oauth/token", 400, 401),
        "a client": ("POST /oauth/introspect", 200, 400),
        "a person": ("GET /auth/sessions", 200),
    }[who]
    assert answered[reached[0]].keys() >= set(reached[1:]), "it must come further than the door"


def test_every_answer_and_error_is_in_the_document():
    document = Desk().app.openapi()
    answers = {
        path: {method: sorted(operation["responses"]) for method, operation in operations.items()}
        for path, operations in document["paths"].items()
        if path.startswith(("/oauth", "/.well-known"))
    }
    client = ["200", "400", "401", "413", "429", "503"]
    assert answers == {
        "/oauth/token": {"post": client},
        "/oauth/revoke": {"post": client},
        "/oauth/introspect": {"post": client},
        "/oauth/authorize": {
            "get": ["200", "303", "400", "503"],
            "post": ["200", "303", "400", "413", "429", "503"],
        },
        "/.well-known/oauth-authorization-server": {"get": ["200"]},
    }
    assert SECRET not in str(document)
