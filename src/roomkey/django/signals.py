"""Disconnects users: when they log out, are deactivated, renamed or deleted, or change their password or groups.

Signals are sent for each saved object. ``QuerySet.update()`` sends none; after it, call the guard yourself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.db import router, transaction
from django.db.models.signals import m2m_changed, post_delete, post_save, pre_delete, pre_save

from roomkey.django import guards
from roomkey.django.settings import configuration
from roomkey.django.tokens import lifetime, remember_login, session_id_of

BLACKLIST = "rest_framework_simplejwt.token_blacklist"
BEFORE = "_roomkey_before"
MEMBERS = "_roomkey_members"


def connect() -> None:
    """Connect the receivers. Django calls this once, when all models are loaded."""
    user = get_user_model()
    _receive(user_logged_in, _logged_in)
    _receive(user_logged_out, _logged_out)
    _receive(pre_save, _before_user_is_saved, user)
    _receive(post_save, _user_saved, user)
    _receive(post_delete, _user_deleted, user)
    if hasattr(user, "groups"):
        group = user._meta.get_field("groups").related_model
        _receive(m2m_changed, _groups_changed, user.groups.through)
        _receive(pre_save, _before_group_is_saved, group)
        _receive(post_save, _group_saved, group)
        _receive(pre_delete, _before_group_is_deleted, group)
        _receive(post_delete, _group_saved, group)
    if apps.is_installed(BLACKLIST):
        _receive(post_save, _token_blacklisted, apps.get_model("token_blacklist", "BlacklistedToken"))


def _receive(signal: Any, receiver: Callable[..., None], sender: Any = None) -> None:
    signal.connect(receiver, sender=sender, dispatch_uid=f"roomkey.django.{receiver.__name__}")


def _logged_in(request: Any = None, **_: Any) -> None:
    session = getattr(request, "session", None)
    if session is not None:
        remember_login(session)


def _logged_out(request: Any = None, user: Any = None, **_: Any) -> None:
    key = getattr(getattr(request, "session", None), "session_key", None)
    if key is not None and user is not None:
        guards.revoke(session_id=session_id_of(key), expires_at=time.time() + lifetime())


def _before_user_is_saved(sender: Any, instance: Any, raw: bool = False, using: str = "", **_: Any) -> None:
    """Note the subject of a user before it is saved: a renamed user must not keep the old subject's sockets."""
    if raw or instance.pk is None:
        return
    field = configuration().subject_field
    old = sender._base_manager.using(using).filter(pk=instance.pk).values_list(field, "is_active").first()
    setattr(instance, BEFORE, old)


def _user_saved(sender: Any, instance: Any, raw: bool = False, using: str = "", **_: Any) -> None:
    old = instance.__dict__.pop(BEFORE, None)
    if raw or old is None:
        return
    subject, was_active = str(old[0]), old[1]
    # Django keeps a new password in `_password` until the user is saved; a hash that is only renewed is not there.
    has_new_password = getattr(instance, "_password", None) is not None
    if (was_active and not instance.is_active) or subject != configuration().subject(instance) or has_new_password:
        _on_commit(using, lambda: guards.revoke(subject=subject))


def _user_deleted(sender: Any, instance: Any, using: str = "", **_: Any) -> None:
    subject = configuration().subject(instance)
    _on_commit(using, lambda: guards.revoke(subject=subject))


def _groups_changed(
    action: str, instance: Any, reverse: bool, pk_set: set[Any] | None, model: Any, using: str = "", **_: Any
) -> None:
    """Update the roles of a user whose groups changed, or of the users of a group."""
    if action == "pre_clear" and reverse:  # afterwards, nothing names them
        setattr(instance, MEMBERS, list(instance.user_set.using(using).all()))
    if action not in ("post_add", "post_remove", "post_clear"):
        return
    if not reverse:
        _update_roles([instance], using)
    elif pk_set is not None:
        _update_roles(model._base_manager.using(using).filter(pk__in=pk_set), using)
    else:
        _update_roles(instance.__dict__.pop(MEMBERS, []), using)


def _before_group_is_saved(sender: Any, instance: Any, raw: bool = False, using: str = "", **_: Any) -> None:
    if not raw and instance.pk is not None:
        old = sender._base_manager.using(using).filter(pk=instance.pk).values_list("name", flat=True).first()
        if old is not None and old != instance.name:
            setattr(instance, MEMBERS, list(instance.user_set.using(using).all()))


def _before_group_is_deleted(instance: Any, using: str = "", **_: Any) -> None:
    setattr(instance, MEMBERS, list(instance.user_set.using(using).all()))


def _group_saved(instance: Any, using: str = "", **_: Any) -> None:
    _update_roles(instance.__dict__.pop(MEMBERS, []), using)


def _update_roles(users: Iterable[Any], using: str) -> None:
    for user in list(users):
        _on_commit(using, partial(_update_roles_of, user))


def _update_roles_of(user: Any) -> None:
    settings = configuration()
    if settings.roles is not None:
        guards.update(settings.subject(user), roles=list(settings.roles(user)))


def _token_blacklisted(instance: Any, created: bool = False, raw: bool = False, using: str = "", **_: Any) -> None:
    if raw or not created or not configuration().simplejwt:
        return
    from roomkey.django.simplejwt import revoked_names

    names = revoked_names(instance)
    if names is not None:
        _on_commit(using, lambda: guards.revoke(**names))


def _on_commit(using: str, act: Callable[[], Any]) -> None:
    """Act when the change is committed, and not if it is rolled back."""
    transaction.on_commit(act, using=using or router.db_for_write(get_user_model()))
