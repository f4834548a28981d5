"""The contract of :class:`roomkey.stores.ManagedAccounts`."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from roomkey.errors import ConfigError
from roomkey.stores import Account, AccountExists, AccountNotFound, ManagedAccounts
from roomkey.stores.records import check_name

ADA = Account("ada", "$argon2id$hash", roles=("admin",), rooms=("red", "blue"))


async def test_added_account_is_found(accounts: ManagedAccounts) -> None:
    before = int(time.time())
    await accounts.add(ADA)
    found = await accounts.find("ada")
    assert found is not None
    assert replace(found, created_at=0) == Account("ada", "$argon2id$hash", ("admin",), ("red", "blue"), False, 0)
    assert before <= found.created_at <= time.time()


@pytest.mark.parametrize("name", ["", "Ada", "ada ", "grace", "ada' OR '1'='1", "ada\x00", "ada\ud800", "a" * 100_000])
async def test_only_the_exact_name_is_found(accounts: ManagedAccounts, name: str) -> None:
    await accounts.add(ADA)
    assert await accounts.find(name) is None


async def test_name_can_be_added_once(accounts: ManagedAccounts) -> None:
    await accounts.add(ADA)
    with pytest.raises(AccountExists, match="ada already"):
        await accounts.add(Account("ada", "other"))
    assert (await accounts.find("ada") or ADA).password_hash == ADA.password_hash


async def test_password_and_disabled_can_be_changed(accounts: ManagedAccounts) -> None:
    await accounts.add(ADA)
    await accounts.add(Account("grace", "hers"))
    await accounts.set_password("ada", "new")
    await accounts.set_disabled("ada", True)
    changed = await accounts.find("ada")
    assert changed is not None
    assert (changed.password_hash, changed.disabled, changed.roles) == ("new", True, ("admin",))
    other = await accounts.find("grace")
    assert other is not None
    assert (other.password_hash, other.disabled) == ("hers", False)
    await accounts.set_disabled("ada", False)
    assert (await accounts.find("ada") or ADA).disabled is False


async def test_unknown_account_raises(accounts: ManagedAccounts) -> None:
    with pytest.raises(AccountNotFound, match="roomkey user list"):
        await accounts.set_password("nobody", "x")
    with pytest.raises(AccountNotFound):
        await accounts.set_disabled("nobody", True)
    with pytest.raises(AccountNotFound):
        await accounts.set_rights("nobody", roles=[])


async def test_rights_can_be_replaced_each_alone(accounts: ManagedAccounts) -> None:
    await accounts.add(ADA)
    await accounts.set_rights("ada", rooms=["green"])
    changed = await accounts.find("ada") or ADA
    assert (changed.roles, changed.rooms) == (("admin",), ("green",))
    await accounts.set_rights("ada", roles=[])
    changed = await accounts.find("ada") or ADA
    assert (changed.roles, changed.rooms) == ((), ("green",))
    with pytest.raises(ConfigError, match="room"):
        await accounts.set_rights("ada", rooms=["two words"])


async def test_created_at_is_kept_if_given(accounts: ManagedAccounts) -> None:
    after_2038 = 2**31 + 5
    await accounts.add(Account("ada", "x", created_at=after_2038))
    assert (await accounts.find("ada") or ADA).created_at == after_2038


async def test_accounts_are_listed_by_name(accounts: ManagedAccounts) -> None:
    for name in ("linus", "ada", "grace"):
        await accounts.add(Account(name, "x"))
    assert [one.username for one in await accounts.all()] == ["ada", "grace", "linus"]


def test_hash_is_not_in_the_repr() -> None:
    assert "argon2" not in repr(ADA)


@pytest.mark.parametrize(
    "name", ["", "a" * 151, "two words", "tab\t", "new\nline", "nul\x00", "\u202eada", "ﬁne", "e\u0301", "\ud800"]
)
def test_names_that_could_be_mistaken_are_rejected(name: str) -> None:
    with pytest.raises(ConfigError):
        check_name(name)


@pytest.mark.parametrize("name", ["ada", "ada@example.org", "zoë", "李", "a" * 150, "team:red"])
def test_names_of_users_and_rooms_are_accepted(name: str) -> None:
    assert check_name(name) == name


async def test_roles_and_rooms_are_checked(accounts: ManagedAccounts) -> None:
    with pytest.raises(ConfigError, match="role"):
        await accounts.add(Account("ada", "x", roles=("admin ",)))
    with pytest.raises(ConfigError, match="room"):
        await accounts.add(Account("ada", "x", rooms=("",)))
