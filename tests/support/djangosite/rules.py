"""The policy of the project: rules with the ORM."""

from django.contrib.auth import get_user_model

from roomkey import Policy
from roomkey.django import uses_database

policy = Policy()


@policy.room("group:{name}")
@uses_database
def member(who, name):
    return get_user_model().objects.filter(username=who.subject, groups__name=name).exists()


@policy.room("async:{name}")
@uses_database
async def async_member(who, name):
    return await get_user_model().objects.filter(username=who.subject, groups__name=name).aexists()


@policy.room("{name}")
def undecorated(who, name):
    return get_user_model().objects.filter(username=who.subject, groups__name=name).exists()
