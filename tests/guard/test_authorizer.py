"""The decisions, without any connection: verified, not revoked, may; and again when a rule has waited."""

from __future__ import annotations

import asyncio

import pytest
from support.clock import FakeClock
from support.tokens import issuer_at

from roomkey import Identity, Policy
from roomkey.core.credentials import Credential
from roomkey.core.revocations import Revocation
from roomkey.errors import (
    AuthError,
    BadSignature,
    ExpiredToken,
    MalformedToken,
    PermissionDenied,
    ReauthenticationRequired,
    RevokedToken,
    SubjectMismatch,
    Unavailable,
)
from roomkey.guard.guard import AsyncioGuard

FRESH = 300


class Bench:
    """A judge, its clock and its policy, whose rules answer what the test says."""

    def __init__(self, verifier=None, **settings) -> None:
        self.clock = FakeClock()
        self.issuer = issuer_at(self.clock)
        self.policy = Policy(roles="admin > moderator")
        guard = AsyncioGuard(verifier or self.issuer.verifier(), policy=self.policy, clock=self.clock, **settings)
        self.judge = guard._authorizer

    def who(self, **claims) -> Identity:
        now = self.clock.now()
        return Identity.from_claims({"sub": "ada", "iat": now, "exp": now + 100, "jti": "t", **claims})

    def revoke(self) -> None:
        now = self.clock.now()
        self.judge.revocations.add(Revocation.of(token_id="t", now=now), now)

    async def identify(self, token: str | None = None) -> Identity:
        return await self.judge.identify(Credential(token or self.issuer.issue("ada", token_id="t"), "auth"), "/")


@pytest.fixture
def bench() -> Bench:
    return Bench()


class Slow:
    """A rule during whose wait something happens."""

    def __init__(self, meanwhile=lambda: None) -> None:
        self.meanwhile, self.asked = meanwhile, []

    async def __call__(self, who, **fields):
        self.asked.append(who)
        await asyncio.sleep(0)
        if len(self.asked) == 1:
            self.meanwhile()
        return True


KINDS = [("namespace", "/"), ("room", "red"), ("emit", "red"), ("event", "transfer")]


def allow(policy: Policy, kind: str, name: str, rule, **settings) -> None:
    (policy.event(name, **settings) if kind == "event" else getattr(policy, kind)(name))(rule)


@pytest.mark.parametrize(("kind", "name"), KINDS)
async def test_revocation_while_a_rule_waits_wins(bench, kind, name):
    allow(bench.policy, kind, name, Slow(bench.revoke))
    decision = await bench.judge.decide(bench.who(), kind, name, "/")
    assert isinstance(decision.error, RevokedToken)


@pytest.mark.parametrize(("kind", "name"), KINDS)
@pytest.mark.parametrize("seconds", [0, 99.9, 100, 110])
@pytest.mark.parametrize("waits", [False, True])
async def test_expired_token_gets_no_new_rights(bench, kind, name, seconds, waits):
    """Neither where the rule is asked after ``exp``, nor where ``exp`` passes while it waits."""
    allow(bench.policy, kind, name, Slow((lambda: bench.clock.advance(seconds)) if waits else (lambda: None)))
    who = bench.who()
    if not waits:
        bench.clock.advance(seconds)
    decision = await bench.judge.decide(who, kind, name, "/")
    assert (type(decision.error) is ExpiredToken) == (kind == "room" and seconds >= 100)
    assert await bench.judge.decide(who, kind, name, "/", again=True)  # what was granted before goes on


@pytest.mark.parametrize("seconds", [99, 100])
async def test_event_with_max_auth_age_is_denied_after_exp(bench, seconds):
    bench.policy.event("transfer", max_auth_age=1000)(lambda who: True)
    who = bench.who()
    bench.clock.advance(seconds)
    decision = await bench.judge.decide(who, "event", "transfer", "/")
    assert isinstance(decision.error, ExpiredToken) == (seconds == 100)


NOW = FakeClock().now()


@pytest.mark.parametrize(
    ("claims", "fresh"),
    [
        *(({"auth_time": NOW - age}, age <= FRESH) for age in (0, 1.5, FRESH, FRESH + 1, 10**6)),
        *(({"auth_time": NOW + ahead}, ahead <= FRESH) for ahead in (1, FRESH, FRESH + 1, 10**9)),
        *(({"auth_time": wrong}, False) for wrong in (str(NOW), None, True, [NOW], {}, 10**400, -(10**400), "")),
        ({"iat": NOW - FRESH}, True),
        ({"iat": NOW - FRESH - 1}, False),
        ({"iat": NOW, "auth_time": NOW - FRESH - 1}, False),
        ({"iat": NOW - 10**6, "auth_time": NOW}, True),
        ({"iat": None}, False),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_max_auth_age_uses_auth_time_or_else_iat(bench, claims, fresh):
    bench.policy.event("transfer", max_auth_age=FRESH)(lambda who: True)
    decision = await bench.judge.decide(bench.who(**claims), "event", "transfer", "/")
    if fresh:
        assert decision.error is None
    else:
        assert isinstance(decision.error, ReauthenticationRequired)
        assert decision.error.to_client()["max_age"] == FRESH


async def test_max_auth_age_is_that_of_the_strictest_rule(bench):
    bench.policy.event("transfer", max_auth_age=FRESH)(lambda who: True)
    bench.policy.event("transfer", namespace="/bank", max_auth_age=10)(lambda who: True)
    who = bench.who(iat=NOW - 20)
    assert await bench.judge.decide(who, "event", "transfer", "/")
    assert (await bench.judge.decide(who, "event", "transfer", "/bank")).error.to_client()["max_age"] == 10


async def test_denied_event_asks_for_no_recent_login(bench):
    bench.policy.event("transfer", max_auth_age=FRESH)(lambda who: False)
    decision = await bench.judge.decide(bench.who(iat=NOW - 1000), "event", "transfer", "/")
    assert type(decision.error) is PermissionDenied


# From a token to whoever may connect


@pytest.mark.parametrize("event", ["revoked", "over"])
async def test_connection_is_refused_if_its_token_ends_while_a_rule_waits(bench, event):
    meanwhile = {"revoked": bench.revoke, "over": lambda: bench.clock.advance(900 + 25)}[event]
    bench.policy.namespace("/")(Slow(meanwhile))
    with pytest.raises(RevokedToken if event == "revoked" else ExpiredToken):
        await bench.identify()


async def test_rule_is_asked_again_if_rights_change_while_it_waits(bench):
    rule = Slow(lambda: bench.judge.changed.change("ada", bench.clock.now(), roles=["moderator"]))
    bench.policy.namespace("/")(rule)
    who = await bench.identify(bench.issuer.issue("ada", roles=["admin"]))
    assert who.roles == {"moderator"}
    assert [set(one.roles) for one in rule.asked] == [{"admin", "moderator"}, {"moderator"}]


async def test_roles_include_other_roles(bench):
    bench.policy.namespace("/")(lambda who: who.has_role("moderator"))
    assert (await bench.identify(bench.issuer.issue("ada", roles=["admin"]))).roles == {"admin", "moderator"}
    with pytest.raises(PermissionDenied):
        await bench.identify(bench.issuer.issue("ada", roles=["Moderator"]))


class Failing:
    """A verifier that needs something that is not there."""

    def __init__(self, error: Exception, *, later: bool) -> None:
        self.error, self.later = error, later

    def verify(self, token, now, *, source=""):
        if self.later:
            return self._later()
        raise self.error

    async def _later(self):
        raise self.error


@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize("error", [RuntimeError("secret"), OSError(), Unavailable("keys"), BadSignature()], ids=repr)
async def test_every_error_of_a_verifier_is_an_auth_error(error, later):
    bench = Bench(Failing(error, later=later))
    with pytest.raises(AuthError) as caught:
        await bench.identify("token")
    assert type(caught.value) is (type(error) if isinstance(error, AuthError) else Unavailable)
    assert "secret" not in str(caught.value.to_client())


@pytest.mark.checklist("B33")
@pytest.mark.parametrize(
    ("new", "error"),
    [
        ({"exp": NOW + 101}, None),
        ({"exp": NOW + 100}, None),
        ({"exp": NOW + 99}, MalformedToken),
        ({"exp": None}, MalformedToken),
        ({"exp": NOW + 101, "iat": NOW - 1}, MalformedToken),
        ({"exp": NOW + 101, "iat": None}, MalformedToken),
        ({"exp": NOW + 101, "sub": "eve"}, SubjectMismatch),
        ({"exp": NOW + 101, "iss": "another"}, SubjectMismatch),
        ({"exp": NOW + 99, "sub": "eve"}, SubjectMismatch),
    ],
    ids=str,
)
def test_refresh_requires_a_later_token_of_the_same_subject(bench, new, error):
    if error is None:
        assert bench.judge.check_renewal(bench.who(), bench.who(**new)) is (new["exp"] > NOW + 100)
        assert bench.judge.check_renewal(bench.who(), bench.who(**new, jti="another")) is True
    else:
        with pytest.raises(error):
            bench.judge.check_renewal(bench.who(), bench.who(**new))
    bench.judge.check_renewal(Identity.guest(), bench.who(**new))  # a guest becomes anybody


async def test_decision_prints_its_reason(bench):
    bench.policy.room("team:{team}")(lambda who, team: team in who.rooms)
    who = bench.who(rooms=["red"], roles=["b", "a"])
    said = str(await bench.judge.decide(who, "room", "team:red", "/"))
    assert said == ("room 'team:red': allowed by the rule for room team:{team}; subject 'ada', roles: a, b, rooms: red")
    said = str(await bench.judge.decide(Identity.guest(), "room", "x\x1b[2J\n", "/"))
    assert said.isprintable()
    assert said.endswith("by the default, since no rule is about it; a guest, roles: none, rooms: none")
    bench.clock.advance(100)
    expired = str(await bench.judge.decide(who, "room", "team:red", "/"))
    assert "denied (" in expired
    assert "default" not in expired  # no rule was asked, and no default either
