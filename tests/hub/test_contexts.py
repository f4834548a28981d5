"""Context variables that the handlers of an application set."""

from __future__ import annotations

from contextvars import ContextVar

from roomkey import Issuer
from roomkey.hub import Hub
from roomkey.testing import connect

USER: ContextVar[str] = ContextVar("user", default="nobody")


async def test_context_variable_of_a_function_does_not_outlast_its_event():
    issuer = Issuer.ephemeral(audience="chat")
    hub = Hub(issuer.verifier())

    @hub.on("set")
    def set_user(sid):
        USER.set("ada")
        return USER.get()

    @hub.on("read")
    def read(sid):
        return USER.get()

    @hub.on("read later")
    async def read_later(sid):
        return USER.get()

    client = await connect(hub, token=issuer.issue("ada"))
    assert await client.call("set") == "ada"
    assert await client.call("read") == "nobody"
    assert await client.call("read later") == "nobody"


async def test_context_variable_reaches_the_coroutine_that_a_function_returns():
    issuer = Issuer.ephemeral(audience="chat")
    hub = Hub(issuer.verifier())

    async def answer():
        return USER.get()

    @hub.on("ask")
    def ask(sid):
        USER.set("ada")
        return answer()

    client = await connect(hub, token=issuer.issue("ada"))
    assert await client.call("ask") == "ada"
