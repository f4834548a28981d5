"""The error tree, its codes, and the texts for clients."""

from __future__ import annotations

import inspect

import pytest

from roomkey import Verifier, errors
from roomkey.core.credentials import Handshake, Request, find_credential, from_event, missing_credential
from roomkey.errors import AuthError, ConfigError

# class -> code, reason, text, retry, temporary
TABLE = {
    "CredentialsError": ("credentials_required", None, "no token provided", False, False),
    "CredentialsBadFormat": ("credentials_bad_format", None, "Format is Authorization: Bearer [token]", False, False),
    "MissingAuthorizationHeader": (
        "missing_authorization_header",
        None,
        "Server requires Authorization Header",
        False,
        False,
    ),
    "TokenError": ("invalid_token", None, "invalid token", False, False),
    "MalformedToken": ("invalid_token", "malformed", "invalid token", False, False),
    "BadSignature": ("invalid_token", "bad_signature", "invalid signature", False, False),
    "UnknownKey": ("invalid_token", "bad_signature", "invalid signature", False, False),
    "AlgorithmNotAllowed": ("invalid_token", "bad_signature", "invalid algorithm", False, False),
    "ClaimError": ("invalid_token", "claim", "invalid exp value", False, False),
    "MissingClaim": ("invalid_token", "claim", "invalid exp value", False, False),
    "ExpiredToken": ("invalid_token", "token_expired", "jwt expired", True, False),
    "ImmatureToken": ("invalid_token", "claim", "jwt not active", False, False),
    "RevokedToken": ("invalid_token", "token_revoked", "jwt revoked", False, False),
    "InvalidProof": ("invalid_dpop_proof", "invalid_dpop_proof", "invalid DPoP proof", False, False),
    "NonceRequired": ("use_dpop_nonce", "use_dpop_nonce", "DPoP nonce required", True, False),
    "AuthenticationTimeout": (
        "authentication_timeout",
        "authentication_timeout",
        "authentication timeout",
        False,
        False,
    ),
    "TooManyAttempts": ("too_many_attempts", "too_many_attempts", "too many attempts", False, False),
    "LimitExceeded": ("limit_exceeded", "limit_exceeded", "limit exceeded", False, True),
    "ReauthenticationRequired": (
        "insufficient_user_authentication",
        "reauthentication_required",
        "authenticate again",
        False,
        False,
    ),
    "PermissionDenied": ("permission_denied", "permission_denied", "Insufficient permissions", False, False),
    "ProtocolViolation": ("protocol_violation", None, "protocol violation", False, False),
    "Unavailable": ("temporarily_unavailable", "temporarily_unavailable", "temporarily unavailable", True, True),
}


# the first argument of some errors: its name in the data for the client, and a value
FACTS = {
    "LimitExceeded": ("limit", "joins"),
    "NonceRequired": ("nonce", "n"),
    "ReauthenticationRequired": ("max_age", 300.0),
}


def made(name: str) -> AuthError:
    kind = getattr(errors, name)
    if issubclass(kind, errors.ClaimError):
        return kind("exp", "what the log says")
    before = FACTS[name][1:] if name in FACTS else ()
    return kind(*before, "what the log says")


@pytest.mark.parametrize("name", TABLE)
def test_to_client_returns_the_members_of_the_contract(name):
    error = made(name)
    code, reason, text, retry, temporary = TABLE[name]
    told = {"message": text, "code": code, "type": "UnauthorizedError"}
    if reason:
        told["reason"] = reason
    if retry:
        told["retry"] = True
    if isinstance(error, errors.ClaimError):
        told["claim"] = "exp"
    if name in FACTS:
        told |= dict([FACTS[name]])
    assert error.to_client() == told
    assert error.temporary is temporary
    assert str(error) == "what the log says"
    assert "log" not in error.message


def test_table_of_errors_is_complete():
    declared = inspect.getmembers(errors, lambda kind: inspect.isclass(kind) and issubclass(kind, Exception))
    kinds = {name for name, kind in declared if kind.__module__ == errors.__name__}
    assert kinds - TABLE.keys() == {"AuthError", "ConfigError", "Declined", "SubjectMismatch"}


def test_subject_mismatch_has_its_own_reason():
    error = errors.SubjectMismatch("ada became eve")
    assert error.to_client()["reason"] == "subject_mismatch"
    assert error.to_client()["code"] == "invalid_token"
    assert "ada" not in error.message


def test_errors_form_the_documented_tree():
    assert issubclass(ConfigError, ValueError)
    assert not issubclass(ConfigError, AuthError)
    for name in ("MalformedToken", "BadSignature", "AlgorithmNotAllowed", "UnknownKey", "ClaimError", "RevokedToken"):
        assert issubclass(getattr(errors, name), errors.TokenError)
    for name in ("MissingClaim", "ExpiredToken", "ImmatureToken", "SubjectMismatch"):
        assert issubclass(getattr(errors, name), errors.ClaimError)
    for name in ("CredentialsBadFormat", "MissingAuthorizationHeader"):
        assert issubclass(getattr(errors, name), errors.CredentialsError)


def test_facts_become_members():
    told = errors.PermissionDenied(room="red").to_client()
    assert told["room"] == "red"
    assert told.keys() >= {"message", "code", "type", "reason"}


def test_handshake_errors_match_the_contract():
    """The wire contract's section 1, row by row."""

    def told(call):
        with pytest.raises(AuthError) as caught:
            call()
        return caught.value.code, caught.value.message

    def from_handshake(way, payload, request):
        if find_credential(way, payload, request) is None:
            raise missing_credential(way)

    nothing = Request()
    for payload in (None, {"token": None}, {"token": ""}, {"other": 1}):
        for request in (nothing, Request(authorization="Basic eDp5")):
            assert told(lambda payload=payload, request=request: from_handshake(Handshake(), payload, request)) == (
                "credentials_required",
                "no token provided",
            )
    assert told(lambda: from_handshake(Handshake(auth=False), None, nothing)) == (
        "missing_authorization_header",
        "Server requires Authorization Header",
    )
    for payload in ({"token": 42}, {"token": ["a.b.c"]}, [], "a.b.c", 5):
        assert told(lambda payload=payload: from_handshake(Handshake(), payload, nothing)) == (
            "invalid_token",
            "invalid token datatype",
        )
    assert told(lambda: from_event(())) == ("credentials_required", "no token provided")


def test_invalid_token_texts_match_the_contract():
    """The wire contract's section 3: the texts of Node's jsonwebtoken, from one verifier."""
    from roomkey import Issuer

    now = 1_800_000_000
    issuer = Issuer.ephemeral(audience=None, issuer="X", clock=lambda: now)
    good = issuer.issue("ada")
    header, payload, signature = good.split(".")
    other = Issuer(issuer.key, issuer="Y", audience="C", clock=lambda: now).issue("ada")
    elsewhere = Issuer.ephemeral(clock=lambda: now).issue("ada").split(".")
    expecting = Verifier(issuer.key, algorithms=["HS256"], issuer="X")
    audience = Verifier(issuer.key, algorithms=["HS256"], issuer="Y", audience=["A", "B"])
    cases = [
        (expecting, issuer.issue("ada", expires_in=-60), "jwt expired"),
        (expecting, issuer.issue("ada", not_before=now + 60), "jwt not active"),
        (expecting, f"{header}.{payload}.{elsewhere[2]}", "invalid signature"),
        (expecting, ".".join(elsewhere), "invalid signature"),
        (expecting, f"{header}.{payload}", "jwt malformed"),
        (expecting, f"{header}.{payload}.", "jwt signature is required"),
        (expecting, f"eyJhbGciOiJub25lIn0.{payload}.{signature}", "invalid algorithm"),
        (audience, other, "jwt audience invalid. expected: A or B"),
        (expecting, other, "jwt issuer invalid. expected: X"),
        (expecting, f"x.{payload}.{signature}", "invalid token"),
        (expecting, "", "jwt must be provided"),
    ]
    for verifier, token, text in cases:
        with pytest.raises(errors.TokenError) as caught:
            verifier.verify(token, now)
        assert caught.value.message == text
        assert caught.value.code == "invalid_token"
    assert expecting.verify(good, now).subject == "ada"
