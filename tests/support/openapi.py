"""Routes that keep to their OpenAPI document, whatever is sent: schemathesis makes the requests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import SearchStrategy
from schemathesis import Case, GenerationMode, Response
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
# Who asks is for the test to say.
CONFIG = SchemathesisConfig.from_dict({"generation": {"with-security-parameters": False}})
EXAMPLES = 10  # of each kind for each route
BOUNDED = settings(
    max_examples=EXAMPLES,
    database=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def operations(document: dict[str, Any]) -> Iterator[Any]:
    """What the document lets one ask; the label of each is such as ``GET /healthz``."""
    for found in schemathesis.openapi.from_dict(document, config=CONFIG).get_all_operations():
        yield found.ok()


def ask_everything(
    document: dict[str, Any], callers: Mapping[str, Callable[[Case], Response]]
) -> dict[str, dict[str, Counter[int]]]:
    """What each route answered to each caller, and how often.

    Args:
        document: of the routes.
        callers: who sends a request, and how: by :func:`call`, which raises where the answer is not in the document.
            All send the same.
    """
    answered: dict[str, dict[str, Counter[int]]] = {}
    for operation in operations(document):
        seen = answered[operation.label] = {who: Counter() for who in callers}
        # Any text is as good as any other in a path or a query; only a body can be wrong.
        for mode in GenerationMode if operation.body else [GenerationMode.POSITIVE]:
            _ask(operation.as_strategy(mode), seen, callers)
    return answered


def _ask(
    cases: SearchStrategy[Case], seen: dict[str, Counter[int]], callers: Mapping[str, Callable[[Case], Response]]
) -> None:
    @BOUNDED
    @given(case=cases)
    def answers_as_documented(case: Case) -> None:
        for who, send in callers.items():
            seen[who][send(case).status_code] += 1

    answers_as_documented()


def call(case: Case, url: str, **sent: Any) -> Response:
    """One answer, which is as the document says.

    Args:
        case: a request.
        url: where the routes are served.
        sent: what it carries besides, as arguments of ``requests.request``.
    """
    answer = case.call(base_url=url, allow_redirects=False, **sent)
    case.validate_response(answer, checks=CHECKS)
    return answer
