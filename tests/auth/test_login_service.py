"""Logins without their routes: changes in between, and what must never happen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import nullcontext
from typing import Any

import pytest
from argon2 import PasswordHasher
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from hypothesis.strategies import integers, sampled_from
from sqlalchemy import text
from support.clock import FakeClock, forgets_by
from support.examples import examples
from support.login_server import CHEAP, HASHED, NEW_PASSWORD, PASSWORD, SECRET, running
from support.tokens import issuer_at

from roomkey.auth import (
    ClientInfo,
    InvalidGrant,
    InvalidScope,
    IssuedTokens,
    LoginService,
    Passwords,
    StandaloneAuthority,
    Throttled,
)
from roomkey.core.identity import Identity
from roomkey.errors import AuthError, ConfigError, RevokedToken, Unavailable
from roomkey.stores import Account, Database, SqlAccounts, SqlSessions

HOME = ClientInfo("192.0.2.1", "a browser")
Hook = Callable[[], Awaitable[Any]]


class Desk:
    """Logins over a database in memory, into which a test may reach at a bad moment.

    Attributes:
        when_verified: is done while a password is being looked at, after it was found right or wrong.
        when_issued: is done while an access token is being made.
        outage: what the table of accounts raises.
    """

    def __init__(self, database: Database | None = None, **options: Any) -> None:
        self.clock = FakeClock()
        self.database = database or Database()
        self.when_verified: Hook | None = None
        self.when_issued: Hook | None = None
        self.outage: Exception | None = None
        self.accounts = self._accounts()
        self.sessions = SqlSessions(self.database)
        issuer = issuer_at(self.clock, expires_in=900)
        self.authority = StandaloneAuthority(issuer.verifier(leeway=0), clock=self.clock.now)
        self.passwords = self._passwords(options.pop("hasher", CHEAP))
        given = {"secret": SECRET, "passwords": self.passwords, "extra_claims": self._more, "clock": self.clock.now}
        self.logins = LoginService(self.accounts, self.sessions, issuer, self.authority, **given | options)

    def _accounts(self) -> SqlAccounts:
        desk = self

        class Shaky(SqlAccounts):
            async def find(self, username: str) -> Account | None:
                if desk.outage is not None:
                    raise desk.outage
                return await super().find(username)

        return Shaky(self.database)

    def _passwords(self, hasher: PasswordHasher) -> Passwords:
        desk = self

        class Slow(Passwords):
            async def verify(self, password_hash: str | None, password: str) -> bool:
                right = await super().verify(password_hash, password)
                await desk._once("when_verified")
                return right

        return Slow(hasher=hasher)

    async def _more(self, account: Account) -> dict[str, Any]:
        await self._once("when_issued")
        return {}

    async def _once(self, name: str) -> None:
        hook = getattr(self, name)
        setattr(self, name, None)
        if hook is not None:
            await hook()

    async def open(self, password_hash: str = HASHED) -> Desk:
        await self.accounts.open()
        await self.accounts.add(Account("ada", password_hash))
        return self

    async def login(self) -> IssuedTokens:
        return await self.logins.login("ada", PASSWORD, HOME)

    async def who(self, granted: IssuedTokens) -> Identity:
        return await self.authority.verify(granted.access_token)

    async def disable(self) -> None:
        """Change the account as the admin API does."""
        await self.accounts.set_disabled("ada", True)
        await self.logins.logout_all("ada")

    async def close(self) -> None:
        self.passwords.close()
        await self.database.close()


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    made = await Desk().open()
    yield made
    await made.close()


# While a login is under way


@pytest.mark.parametrize("moment", ["when_verified", "when_issued"])
@pytest.mark.parametrize("seconds", [0, 5])
async def test_login_fails_if_the_account_is_disabled_meanwhile(desk: Desk, moment: str, seconds: int) -> None:
    async def disable() -> None:
        await desk.disable()
        desk.clock.advance(seconds)  # otherwise the token is from the revoked second

    setattr(desk, moment, disable)
    with pytest.raises(InvalidGrant):
        await desk.login()
    assert await desk.logins.list_sessions("ada") == []


@pytest.mark.parametrize("what", ["disable", "change"])
async def test_refresh_fails_if_the_account_is_disabled_or_changed_meanwhile(desk: Desk, what: str) -> None:
    granted, other = await desk.login(), await desk.login()

    async def change() -> None:
        await desk.logins.change_password(await desk.who(other), PASSWORD, NEW_PASSWORD, HOME)

    desk.when_issued = desk.disable if what == "disable" else change
    try:
        late = await desk.logins.refresh(str(granted.refresh_token), HOME)
    except InvalidGrant:
        pass
    else:
        with pytest.raises(AuthError):
            await desk.who(late)
        with pytest.raises(InvalidGrant):
            await desk.logins.refresh(str(late.refresh_token), HOME)


@pytest.mark.parametrize("moment", ["when_verified", "when_issued"])
async def test_login_fails_if_the_password_is_being_changed(desk: Desk, moment: str) -> None:
    mine = await desk.login()

    async def change() -> None:
        await desk.logins.change_password(await desk.who(mine), PASSWORD, NEW_PASSWORD, HOME)

    setattr(desk, moment, change)
    with pytest.raises(InvalidGrant):
        await desk.login()
    [left] = await desk.logins.list_sessions("ada")
    assert left.session_id == mine.session.session_id


async def test_login_fails_if_the_password_was_changed_just_before_it_began(desk: Desk) -> None:
    mine, checked = await desk.login(), await desk.accounts.find("ada")
    assert checked is not None
    await desk.logins.change_password(await desk.who(mine), PASSWORD, NEW_PASSWORD, HOME)
    with pytest.raises(InvalidGrant):
        await desk.logins.start_session(checked, HOME)
    assert len(await desk.logins.list_sessions("ada")) == 1


async def test_login_that_starts_during_a_password_change_is_ended(desk: Desk) -> None:
    mine = await desk.login()
    slipped: list[IssuedTokens] = []

    class Slipping(SqlAccounts):
        async def set_password(self, username: str, password_hash: str) -> None:
            slipped.append(await desk.login())
            await super().set_password(username, password_hash)

    desk.logins.accounts = Slipping(desk.database)
    await desk.logins.change_password(await desk.who(mine), PASSWORD, NEW_PASSWORD, HOME)
    with pytest.raises(AuthError):
        await desk.who(slipped[0])
    with pytest.raises(InvalidGrant):
        await desk.logins.refresh(str(slipped[0].refresh_token), HOME)


# Hashes that are not strong enough any more

WEAK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
STRONG = PasswordHasher(time_cost=2, memory_cost=16, parallelism=1)


@pytest.mark.parametrize("typed", [PASSWORD, "a wrong one"])
async def test_right_password_replaces_a_weak_hash(typed: str) -> None:
    desk = await Desk(hasher=STRONG).open(WEAK.hash(PASSWORD))
    with pytest.raises(InvalidGrant) if typed != PASSWORD else nullcontext():
        await desk.logins.login("ada", typed, HOME)
    account = await desk.accounts.find("ada")
    assert account is not None
    assert ("t=2" in account.password_hash) is (typed == PASSWORD)
    await desk.login()
    await desk.close()


async def test_password_shorter_than_the_current_minimum_still_logs_in() -> None:
    desk = await Desk(hasher=STRONG).open(WEAK.hash("short"))
    assert await desk.logins.login("ada", "short", HOME)
    await desk.close()


async def test_replacing_a_weak_hash_does_not_undo_a_password_change() -> None:
    desk = await Desk(hasher=STRONG).open(WEAK.hash(PASSWORD))
    hashed, changed = desk.passwords.hash, STRONG.hash(NEW_PASSWORD)

    async def slow(password: str) -> str:
        await desk.accounts.set_password("ada", changed)
        return await hashed(password)

    desk.passwords.hash = slow  # type: ignore[method-assign]
    with pytest.raises(InvalidGrant):
        await desk.login()
    account = await desk.accounts.find("ada")
    assert account is not None
    assert account.password_hash == changed
    await desk.close()


# When something is out of order


async def test_outage_does_not_consume_a_refresh_token(desk: Desk) -> None:
    granted = await desk.login()
    for _ in range(3):
        desk.outage = Unavailable("scripted")
        with pytest.raises(Unavailable):
            await desk.logins.refresh(str(granted.refresh_token), HOME)
        desk.clock.advance(60)  # longer than the reuse interval
    desk.outage = None
    assert await desk.logins.refresh(str(granted.refresh_token), HOME)


async def test_failed_extra_claims_do_not_consume_a_refresh_token() -> None:
    failing: list[Exception] = []

    def more(_account: Account) -> dict[str, str]:
        for error in failing:
            raise error
        return {}

    desk = await Desk(extra_claims=more).open()
    granted = await desk.login()
    failing.append(RuntimeError("the directory of teams is down"))
    with pytest.raises(Unavailable, match="extra_claims raised RuntimeError"):
        await desk.logins.refresh(str(granted.refresh_token), HOME)
    failing.clear()
    desk.clock.advance(60)  # longer than the reuse interval
    assert await desk.logins.refresh(str(granted.refresh_token), HOME)
    await desk.close()


async def test_copy_detected_during_an_outage_is_detected_again(desk: Desk) -> None:
    granted = await desk.login()
    current = await desk.logins.refresh(str(granted.refresh_token), HOME)
    desk.clock.advance(60)
    revoke, desk.authority.revoke = desk.authority.revoke, _fails  # type: ignore[method-assign]
    with pytest.raises(Unavailable):
        await desk.logins.refresh(str(granted.refresh_token), HOME)
    desk.authority.revoke = revoke  # type: ignore[method-assign]
    with pytest.raises(InvalidGrant):
        await desk.logins.refresh(str(granted.refresh_token), HOME)
    with pytest.raises(RevokedToken):
        await desk.who(current)


async def test_rights_removed_while_extra_claims_waits_are_not_issued() -> None:
    desk = Desk()

    async def more(_account: Account) -> dict[str, str]:
        await desk.accounts.set_rights("ada", roles=[], rooms=[])
        desk.clock.advance(5)
        return {}

    desk = await Desk(extra_claims=more).open()
    await desk.accounts.set_rights("ada", roles=["admin"], rooms=["red"])
    who = await desk.who(await desk.login())
    assert (who.roles, who.rooms) == (frozenset(), ())
    await desk.close()


async def test_concurrent_logins_succeed_while_a_hash_is_replaced() -> None:
    desk = await Desk(hasher=STRONG).open(WEAK.hash(PASSWORD))
    granted = await asyncio.gather(*(desk.login() for _ in range(4)))
    assert len({one.session.session_id for one in granted}) == 4
    await desk.close()


async def test_refresh_contains_the_scopes_that_the_client_has_now(desk: Desk) -> None:
    account = await desk.accounts.find("ada")
    assert account is not None
    granted = await desk.logins.start_session(account, HOME, client_id="app", scope="read write")
    token = str(granted.refresh_token)
    less = await desk.logins.refresh(token, HOME, client_id="app", allowed=("write", "more"))
    assert (await desk.who(less)).scopes == {"write"}


async def test_outage_does_not_count_as_a_wrong_password(desk: Desk) -> None:
    desk.outage = Unavailable("scripted")
    for _ in range(100):
        with pytest.raises(Unavailable):
            await desk.login()
    desk.outage = None
    assert await desk.login()


async def test_wrong_password_counts_once_whatever_outages_come_between(desk: Desk) -> None:
    refused = 0
    for _ in range(10):
        desk.outage = Unavailable("scripted")
        with pytest.raises((Unavailable, Throttled)):
            await desk.login()
        desk.outage = None
        try:
            await desk.logins.login("ada", "a wrong one", HOME)
        except Throttled:
            break
        except InvalidGrant:
            refused += 1
    assert refused == 5


@pytest.mark.parametrize("how", ["logout", "end_session", "forget_token", "change_password"])
async def test_failed_end_can_be_repeated(desk: Desk, how: str) -> None:
    mine, other = await desk.login(), await desk.login()
    who = await desk.who(mine)
    calls: dict[str, Callable[[], Awaitable[Any]]] = {
        "logout": lambda: desk.logins.logout(who),
        "end_session": lambda: desk.logins.end_session_of("ada", mine.session.session_id),
        "forget_token": lambda: desk.logins.logout_with_refresh_token(str(mine.refresh_token)),
        "change_password": lambda: desk.logins.change_password(who, PASSWORD, NEW_PASSWORD, HOME),
    }
    ended = other if how == "change_password" else mine
    revoke, desk.authority.revoke = desk.authority.revoke, _fails  # type: ignore[method-assign]
    with pytest.raises(Unavailable):
        await calls[how]()
    desk.authority.revoke = revoke  # type: ignore[method-assign]
    await calls[how]()
    with pytest.raises(AuthError):
        await desk.who(ended)
    with pytest.raises(InvalidGrant):
        await desk.logins.refresh(str(ended.refresh_token), HOME)


async def _fails(**_names: Any) -> int:
    raise Unavailable("scripted")


# Bounds


async def test_last_access_token_expires_with_its_session(desk: Desk) -> None:
    granted = await desk.login()
    lifetime = granted.session.expires_at - desk.clock.now()
    desk.clock.advance(lifetime - 100)
    last = await desk.logins.refresh(str(granted.refresh_token), HOME)
    assert last.expires_in == 100
    assert (await desk.who(last)).expires_at == granted.session.expires_at
    desk.clock.advance(100)
    with pytest.raises(InvalidGrant):
        await desk.logins.refresh(str(last.refresh_token), HOME)


async def test_session_without_refresh_token_ends_with_its_access_token(desk: Desk) -> None:
    account = await desk.accounts.find("ada")
    assert account is not None
    granted = await desk.logins.start_session(account, HOME, client_id="a service", refreshable=False)
    assert granted.refresh_token is None
    assert granted.session.expires_at == (await desk.who(granted)).expires_at


async def test_refresh_can_narrow_but_not_extend_the_scope(desk: Desk) -> None:
    account = await desk.accounts.find("ada")
    assert account is not None
    granted = await desk.logins.start_session(account, HOME, client_id="app", scope="read write")
    token = str(granted.refresh_token)
    for scope in ("admin", "read admin"):
        with pytest.raises(InvalidScope):
            await desk.logins.refresh(token, HOME, client_id="app", scope=scope)
    less = await desk.logins.refresh(token, HOME, client_id="app", scope="read")
    assert (await desk.who(less)).scopes == {"read"}
    full = await desk.logins.refresh(str(less.refresh_token), HOME, client_id="app")
    assert (await desk.who(full)).scopes == {"read", "write"}


async def test_logout_all_is_stored_long_enough_for_tokens_of_other_programs(desk: Desk) -> None:
    token = desk.logins.issuer.issue("ada", expires_in=6 * 86400)
    await desk.logins.logout_all("ada")
    desk.clock.advance(5 * 86400)
    await desk.logins.logout_all("eve")  # the next session start deletes expired ones
    with pytest.raises(RevokedToken):
        await desk.authority.verify(token)


async def test_expired_sessions_are_deleted(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    settle = forgets_by(desk.clock, monkeypatch)
    granted = await desk.login()
    desk.clock.advance(granted.session.expires_at - desk.clock.now() + 1)
    await desk.login()
    await settle()
    assert len(await desk.database.rows(text("SELECT session_id FROM login_sessions"))) == 1


async def test_extra_claims_are_in_the_token() -> None:
    desk = await Desk(extra_claims=lambda account: {"team": account.username.upper()}).open()
    who = await desk.who(await desk.login())
    assert (who.claim("team"), who.claim("name"), who.claim("client_id")) == ("ADA", "ada", "roomkey")
    await desk.close()


@pytest.mark.parametrize(
    "wrong",
    [{"secret": b"short"}, {"refresh_lifetime": 0}, {"refresh_reuse_interval": -1}, {"refresh_reuse_interval": 301}],
    ids=str,
)
def test_invalid_settings_of_the_login_service_raise(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Desk(**wrong)


async def test_without_a_secret_only_the_same_process_repeats_a_successor(desk: Desk) -> None:
    first, second = (Desk(desk.database, secret=None) for _ in range(2))
    granted = await first.login()
    token = str(granted.refresh_token)
    following = await first.logins.refresh(token, HOME)
    assert (await first.logins.refresh(token, HOME)).refresh_token == following.refresh_token
    with pytest.raises(InvalidGrant):
        await second.logins.refresh(token, HOME)
    for one in (first, second):
        one.passwords.close()


# A login session has at most one valid refresh token


class Family(RuleBasedStateMachine):
    """One session, whose tokens are presented in any order and at any time. The model is ``tokens``, the number of the
    unused one, when the last one was used, and whether the session has ended."""

    GRACE, LIFETIME = 10, 400

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.Runner()
        self.desk = Desk(refresh_reuse_interval=self.GRACE, refresh_lifetime=self.LIFETIME)
        self.run(self.desk.open())

    def run(self, work: Any) -> Any:
        return self.loop.run(work)

    @initialize()
    def login(self) -> None:
        self.tokens = [str(self.run(self.desk.login()).refresh_token)]
        self.ends_at = self.desk.clock.now() + self.LIFETIME
        self.rotated_at = 0.0
        self.ended = False

    @precondition(lambda self: self.ended or self.desk.clock.now() >= self.ends_at)
    @rule()
    def login_again(self) -> None:
        self.login()

    @rule(seconds=sampled_from([0, 1, GRACE, GRACE + 1, LIFETIME // 3]), back=integers(0, 2))
    def wait_and_present(self, seconds: int, back: int) -> None:
        self.desk.clock.advance(seconds)
        self.present(max(0, len(self.tokens) - 1 - back))

    @precondition(lambda self: len(self.tokens) > 3)
    @rule()
    def logout(self) -> None:
        self.run(self.desk.logins.logout_with_refresh_token(self.tokens[-1]))
        self.ended = True

    def present(self, number: int) -> None:
        now, newest = self.desk.clock.now(), len(self.tokens) - 1
        over = self.ended or now >= self.ends_at
        repeats = number == newest - 1 and now - self.rotated_at <= self.GRACE
        try:
            given = self.run(self.desk.logins.refresh(self.tokens[number], HOME)).refresh_token
        except InvalidGrant:
            given = None
        if over:
            assert given is None
        elif number == newest:
            self.tokens.append(given)
            self.rotated_at = now
        elif repeats:
            assert given == self.tokens[newest]
        else:
            assert given is None
            self.ended = True

    @invariant()
    def at_most_one_is_live(self) -> None:
        if not hasattr(self, "tokens"):
            return
        now = self.desk.clock.now()
        found = [self.run(self.desk.logins.find_refresh_token(token)) for token in self.tokens]
        live = [one is not None and one.valid for one in found]
        over = self.ended or now >= self.ends_at
        assert live == [False] * (len(live) - 1) + [not over]

    def teardown(self) -> None:
        self.run(self.desk.close())
        self.loop.close()


Family.TestCase.settings = settings(max_examples=examples(25), stateful_step_count=20)
test_login_session_has_at_most_one_valid_refresh_token = pytest.mark.checklist("J5")(pytest.mark.long(Family.TestCase))


async def test_tokens_of_oauth_clients_and_other_issuers_are_rejected_by_the_routes() -> None:
    async with running() as server:
        own = await server.login()
        account = await server.accounts.find("ada")
        assert account is not None
        delegated = await server.logins.start_session(account, ClientInfo(), client_id="page", scope="chat")
        foreign = server.issuer.issue("ada", session_id="x", claims={"client_id": "page"})
        for token in (delegated.access_token, foreign):
            headers = {"Authorization": f"Bearer {token}"}
            for method, path in (("GET", "sessions"), ("POST", "logout-all"), ("DELETE", "sessions/x")):
                answer = await server.http.request(method, f"/auth/{path}", headers=headers)
                assert (answer.status_code, answer.json()["error"]) == (403, "insufficient_scope")
        assert await server.is_good(own)


async def test_account_has_a_bounded_number_of_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roomkey.auth.login_service.MAX_SESSIONS", 3)
    async with running() as server:
        first = await server.login()
        for _ in range(3):
            server.clock.advance(1)
            await server.login()
        assert len(await server.logins.list_sessions("ada")) == 3
        assert (await server.refresh(first["refresh_token"])).status_code == 401


async def test_refresh_that_waits_during_logout_all_fails() -> None:
    holding, reached, going_on = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def more(account: Account) -> dict[str, str]:
        if holding.is_set():
            reached.set()
            await going_on.wait()
        return {}

    async with running(extra_claims=more) as server:
        tokens = await server.login()
        holding.set()
        waiting = asyncio.create_task(server.refresh(tokens["refresh_token"]))
        await reached.wait()
        await server.logins.logout_all("ada")
        going_on.set()
        assert (await waiting).status_code == 401
