"""The handler of an event is found once, until something changes on which it depends."""

from __future__ import annotations

import pytest

from roomkey import Policy
from roomkey.core.subject_limits import SubjectLimits
from roomkey.guard.events import Events
from roomkey.hub import Namespace
from roomkey.hub.handlers import Handlers
from roomkey.hub.routes import UNHANDLED, Routes


@pytest.fixture
async def said(make_world):
    """``await said()``: what the server answers to the event ``say`` of one client. Its world is ``said.world``."""

    class Said:
        async def begin(self, **settings):
            self.world = await make_world(policy=Policy(), **settings)
            self.world.sio.on("say", lambda sid: "first")
            self.client, self.number = await self.world.member(), 0
            return self

        async def __call__(self, name="say", *arguments):
            self.number += 1
            await self.client.event(name, *arguments, ack=self.number)
            [answer] = await self.client.expect_ack(self.number)
            return answer

    return Said()


async def test_new_handler_replaces_the_old_one(said):
    await said.begin()
    assert [await said(), await said()] == ["first", "first"]
    said.world.sio.on("say", lambda sid: "second")
    assert await said() == "second"

    @said.world.sio.on("say")
    async def third(sid):
        return "third"

    assert await said() == "third"


async def test_class_takes_the_events_that_have_no_function(said):
    await said.begin()

    class Chat(Namespace):
        def on_say(self, sid):
            return "class"

        def on_told(self, sid):
            return "told"

    said.world.sio.on("told", lambda sid: "function")
    assert await said("told") == "function"
    said.world.sio.register_namespace(Chat())
    assert [await said("told"), await said()] == ["function", "first"]
    said.world.sio.register_namespace(type("Other", (Chat,), {"on_new": lambda self, sid: "new"})())
    assert await said("new") == "new"
    Chat.on_late = lambda self, sid: "late"  # as a test may patch it
    assert await said("late") == "late"
    Chat.on_late = lambda self, sid: "later"
    assert await said("late") == "later"


async def test_catch_all_takes_events_that_had_no_handler(said):
    await said.begin()
    await said.client.event("other")
    assert await said() == "first"
    said.world.sio.on("*", lambda event, sid: f"any {event}")
    assert [await said("other"), await said()] == ["any other", "first"]
    said.world.sio.on("other", lambda sid: "own")
    assert await said("other") == "own"


async def test_rule_that_is_added_later_is_asked(said):
    await said.begin()
    assert await said() == "first"
    policy = said.world.guard.policy
    policy.event("say")(lambda who: False)
    assert (await said())["error"]["code"] == "permission_denied"
    said.world.sio.on("shout", lambda sid: "shouted")
    assert await said("shout") == "shouted"
    policy.event("*")(lambda who: False)
    assert (await said("shout"))["error"]["code"] == "permission_denied"


async def test_events_can_be_closed_later(said):
    await said.begin()
    assert await said() == "first"
    said.world.guard.policy.open_events = False
    assert (await said())["error"]["code"] == "permission_denied"
    said.world.guard.policy.open_events = True
    assert await said() == "first"


@pytest.mark.parametrize("event", ["join-room", "tell"])
async def test_guard_takes_the_events_that_it_is_told_to_serve(said, event):
    await said.begin()
    said.world.sio.on(event, lambda sid, room: "the application's")
    assert await said(event, "red") == "the application's"
    if event == "join-room":
        said.world.guard.serve_rooms()
    else:
        said.world.guard.relay(event)
    assert (await said(event, "red"))["error"]["code"] == "permission_denied"


async def test_events_are_counted_for_their_subject(said):
    await said.begin(subject_limits=SubjectLimits(events=3))
    answers = [await said() for _ in range(4)]
    assert answers[:3] == ["first"] * 3
    assert answers[3]["error"]["code"] == "limit_exceeded"


async def test_socket_that_has_ended_is_not_handled(said):
    await said.begin()
    handled = []
    said.world.sio.on("say", lambda sid: handled.append(sid) or "handled")
    assert await said() == "handled"
    connection = next(iter(said.world.guard.index.connections))
    session = connection.host
    await said.world.guard.revoke(subject="ada")
    session.text(b'42["say"]')
    await said.world.settle()
    assert len(handled) == 1


def routes(policy, handlers):
    events = Events(policy, None, None, None, counted=False)
    return Routes(handlers, events), events


def test_names_of_clients_are_not_kept():
    handlers = Handlers()
    handlers.add("*", lambda event, sid: None)
    handlers.add("say", lambda sid: None)
    found, _ = routes(Policy(), handlers)
    for number in range(100):
        assert found.find("/", f"name-{number}").prefix_args == (f"name-{number}",)
        assert found.find(f"/{number}", "say") is UNHANDLED
    assert found.find("/", "say") is found.find("/", "say")
    assert list(found._found) == [("/", "say")]


def test_policy_of_another_class_is_asked_each_time():
    class Moody(Policy):
        closed = False

        def rules_for_event(self, event, namespace):
            return Policy(open_events=not self.closed).rules_for_event(event, namespace)

    handlers, policy = Handlers(), Moody()
    handlers.add("say", lambda sid: None)
    found, _ = routes(policy, handlers)
    assert found.find("/", "say") is not None
    policy.closed = True
    assert found.find("/", "say") is None


@pytest.mark.parametrize("name", ["authenticate", "connect", "disconnect", "*", "", "x" * 256, "a\nb"])
def test_events_that_only_the_guard_decides_about_have_no_route(name):
    handlers = Handlers()
    handlers.add("*", lambda event, sid: None)
    if name in ("authenticate", "a\nb"):
        handlers.add(name, lambda sid: None)
    found, _ = routes(Policy(), handlers)
    assert found.find("/", name) is None
