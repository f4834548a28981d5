"""The wire contract names every event and text once; the code uses its names."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import roomkey
from roomkey import errors
from roomkey.errors import AuthError, ExpiredToken
from roomkey.guard import contract

SOURCE = Path(roomkey.__file__).parent
KINDS = {name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, AuthError)}
AMBIGUOUS = {"authenticate", "error"}  # a value of the setting `via`; a member of many answers


def trees(*packages: str) -> Iterator[tuple[Path, ast.Module]]:
    for path in (path for package in packages for path in sorted((SOURCE / package).rglob("*.py"))):
        if path != Path(contract.__file__):
            yield path, ast.parse(path.read_text())


def given_texts() -> Iterator[tuple[type[AuthError], str]]:
    """Each ``Kind(…, message=…)`` in the source: the kind of error, and the text that it names."""
    for _, tree in trees("."):
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            kind = KINDS.get(getattr(call.func, "id", ""))
            for keyword in call.keywords if kind is not None else ():
                if keyword.arg == "message":
                    yield kind, text_of(keyword.value)


def text_of(node: ast.expr) -> str:
    """The declared text that an expression names: ``Kind.NAME``, ``contract.NAME``, or one of them filled in."""
    match node:
        case ast.Call(func=ast.Attribute(value=named, attr="replace")):
            return text_of(named)
        case ast.Attribute(value=ast.Name(id=owner), attr=name):
            return getattr(KINDS.get(owner, contract), name)
    raise AssertionError(f"a text that errors.py does not declare: {ast.unparse(node)}")


def test_every_text_is_declared_by_its_error_and_used():
    given = set(given_texts())
    assert {text for kind, text in given if text not in (kind.text, *kind.other_texts)} == set()
    declared = {text for kind in KINDS.values() for text in kind.other_texts}
    assert declared - {text for _, text in given} == set()


def test_contract_lists_every_error_that_is_sent():
    listed = {(error.code, error.reason) for error in contract.ERRORS}
    assert listed == {(kind.code, kind.reason) for kind in KINDS.values() if kind.sent_to_clients}
    assert "protocol_violation" not in {error.code for error in contract.ERRORS}


@pytest.mark.parametrize("package", ["client", "guard", "hub", "socketio", "server"])
def test_event_names_are_literals_nowhere_else(package):
    events = (contract.EVENTS_TO_CLIENT.keys() | contract.EVENTS_FROM_CLIENT) - AMBIGUOUS
    found = [
        (path.name, node.lineno, node.value)
        for path, tree in trees(package)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and node.value in events
    ]
    assert found == []


def test_unauthorized_has_the_keys_of_three_generations_of_clients():
    told = contract.unauthorized(ExpiredToken("exp", "expired 5 s ago", expired_at=5))
    assert tuple(told) == contract.EVENTS_TO_CLIENT[contract.UNAUTHORIZED]
    assert told["message"] == told["inner"]["message"] == told["data"]["message"] == "jwt expired"
    assert told["data"]["reason"] == "token_expired"
