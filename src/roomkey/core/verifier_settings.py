"""The optional arguments of a verifier, as each of its constructors takes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypedDict

from roomkey.core.claims import ExactClaims
from roomkey.core.claims_map import Place


class VerifierSettings(TypedDict, total=False):
    """The optional arguments of :class:`roomkey.Verifier`, which explains them."""

    issuer: str | Iterable[str] | None
    audience: str | Iterable[str] | None
    leeway: float
    require: Iterable[str]
    max_lifetime: float | None
    max_age: float | None
    token_type: str | None
    claims: ExactClaims
    claims_map: Mapping[str, Place]
    integer_subject: bool | None
    preset: str | None
    max_token: int
    tolerate_header: Iterable[str]
    subject_prefix: str
