"""Changes of users disconnect their sockets."""

from __future__ import annotations

import json
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from support.djangosite.running import Site, add_user, bearer, token_of


def is_revoked(packet: Any) -> bool:
    return json.loads(packet[packet.index("[") :])[1]["data"]["reason"] == "token_revoked"


async def deactivate(user: Any) -> None:
    user.is_active = False
    await user.asave()


async def change_password(user: Any) -> None:
    user.set_password("another one")
    await user.asave()


async def rename(user: Any) -> None:
    user.username = "grace"
    await user.asave()


@pytest.mark.parametrize("change", [deactivate, change_password, rename, lambda user: user.adelete()])
async def test_a_change_of_a_user_disconnects_its_sockets_only(site: Site, change: Any) -> None:
    user, other = await add_user(), await add_user("bob")
    ada, bob = await site.connect(await token_of(user)), await site.connect(await token_of(other))
    await change(user)
    assert is_revoked(await ada.receive())
    assert await ada.is_closed()
    await bob.sync()
    assert bob.inbox.empty()
    await bob.close()


async def test_other_changes_keep_sockets(site: Site) -> None:
    user = await add_user()
    ada = await site.connect(await token_of(user))
    user.first_name = "Ada"
    await user.asave()
    await sync_to_async(user.check_password)("correct horse")
    user.password = user.password.replace("md5$", "md5$")  # as a login with a weak hash does: save without a new one
    await user.asave(update_fields=["password"])
    await ada.sync()
    assert ada.inbox.empty()
    await ada.close()


async def test_a_change_that_is_rolled_back_keeps_sockets(site: Site) -> None:
    from django.db import transaction

    user = await add_user()
    ada = await site.connect(await token_of(user))

    @sync_to_async
    def begin() -> None:
        with transaction.atomic():
            user.is_active = False
            user.save()
            transaction.set_rollback(True)

    await begin()
    await ada.sync()
    assert ada.inbox.empty()
    await ada.close()


async def groups_remove(user: Any, group: Any) -> None:
    await user.groups.aremove(group)


async def groups_clear(user: Any, group: Any) -> None:
    await user.groups.aclear()


async def members_remove(user: Any, group: Any) -> None:
    await group.user_set.aremove(user)


async def members_clear(user: Any, group: Any) -> None:
    await group.user_set.aclear()


async def group_delete(user: Any, group: Any) -> None:
    await group.adelete()


async def group_rename(user: Any, group: Any) -> None:
    group.name = "writer"
    await group.asave()


CHANGES = [groups_remove, groups_clear, members_remove, members_clear, group_delete, group_rename]


@pytest.mark.parametrize("change", CHANGES)
async def test_leaving_a_group_takes_the_role_from_sockets_and_older_tokens(site: Site, change: Any) -> None:
    user = await add_user("ada", "editor")
    group = await user.groups.aget()
    token = await token_of(user)
    ada = await site.connect(token)
    await ada.event("join-room", "group:editor", ack=1)
    assert (await ada.expect_ack(1))[0]["ok"]
    assert (await site.http.get("/edit/", headers=bearer(token))).status_code == 200
    await change(user, group)
    await ada.expect_event("permissions_changed")
    [socket] = site.guard.sockets("ada")
    assert socket.identity.roles == ({"writer"} if change is group_rename else frozenset())
    assert (await site.http.get("/edit/", headers=bearer(token))).status_code == 403
    await ada.close()


async def test_logging_out_disconnects_the_sockets_of_the_session(site: Site) -> None:
    await add_user()
    sockets = []
    for _count in range(2):
        site.http.cookies.clear()
        await site.http.post("/login/", data={"username": "ada", "password": "correct horse"})
        answer = await site.http.post("/token/", headers={"X-CSRFToken": site.http.cookies["csrftoken"]})
        assert answer.status_code == 200, answer.text
        sockets.append(await site.connect(answer.json()["access_token"]))
    first, second = sockets
    await site.http.post("/logout/")
    assert is_revoked(await second.receive())
    assert await second.is_closed()
    await first.sync()
    assert first.inbox.empty()
    await first.close()


async def test_a_signal_on_the_event_loop_disconnects_too(site: Site) -> None:
    from django.contrib.auth.signals import user_logged_out
    from django.contrib.sessions.backends.signed_cookies import SessionStore
    from django.http import HttpRequest

    from roomkey.django.tokens import session_id_of

    user = await add_user()
    request = HttpRequest()
    request.session = SessionStore("the key of a session")
    ada = await site.connect(await token_of(user, session_id=session_id_of("the key of a session")))
    user_logged_out.send(type(user), request=request, user=user)
    assert is_revoked(await ada.receive())
    assert await ada.is_closed()
