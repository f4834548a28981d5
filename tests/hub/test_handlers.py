"""Which handler is called for an event, and with which first arguments."""

from __future__ import annotations

import pytest

from roomkey import ConfigError
from roomkey.hub import Namespace
from roomkey.hub.handlers import Handlers


def named(name):
    def handler(*arguments):
        return name

    return handler


class Chat(Namespace):
    not_callable = on_number = 5

    def on_say(self, *arguments):
        return f"class {self.namespace}"

    async def on_connect(self, sid, environ):
        """With two arguments."""

    def on_disconnect(self, sid):
        """With one."""


class Any(Namespace):
    def on_say(self, *arguments):
        return "class *"

    def on_connect(self, namespace, sid, environ, auth):
        """With the namespace in front."""


@pytest.fixture
def handlers():
    found = Handlers(())
    for namespace, event in (("/a", "say"), ("/a", "*"), ("*", "say"), ("*", "told")):
        found.add(event, named(f"{namespace} {event}"), namespace)
    found.add_class(Chat("/c"))
    found.add_class(Any("*"))
    return found


@pytest.mark.parametrize(
    ("namespace", "event", "name", "before"),
    [
        ("/a", "say", "/a say", ()),
        ("/a", "else", "/a *", ("else",)),
        ("/a", "told", "/a *", ("told",)),
        ("/b", "say", "* say", ("/b",)),
        ("/b", "told", "* told", ("/b",)),
        ("/b", "else", None, None),
        ("/c", "say", "* say", ("/c",)),
        ("/c", "number", None, None),
    ],
)
def test_most_specific_handler_is_called(handlers, namespace, event, name, before):
    found = handlers.find(event, namespace)
    assert (found and found.handler(), found and found.prefix_args) == (name, before)


def test_functions_precede_classes_and_named_namespaces_precede_all():
    handlers = Handlers(())
    handlers.add_class(Any("*"))
    assert (handlers.find("say", "/c").handler(), handlers.find("say", "/c").prefix_args) == ("class *", ("/c",))
    handlers.add_class(Chat("/c"))
    assert (handlers.find("say", "/c").handler(), handlers.find("say", "/c").prefix_args) == ("class /c", ())
    handlers.add("*", named("catch-all"), "*")
    assert (handlers.find("say", "/c").handler(), handlers.find("say", "/c").prefix_args) == (
        "catch-all",
        ("say", "/c"),
    )


@pytest.mark.parametrize("event", ["connect", "disconnect"])
def test_catch_all_handler_does_not_receive_connect_and_disconnect(event):
    handlers = Handlers(())
    handlers.add("*", named("catch-all"), "/a")
    handlers.add("*", named("catch-all"), "*")
    assert handlers.find(event, "/a") is None


def test_handler_added_later_is_found():
    handlers = Handlers(())
    assert handlers.find("connect", "/a") is None
    handlers.add("connect", lambda sid, environ: None, "/a")
    assert handlers.find("connect", "/a") is not None


@pytest.mark.parametrize(
    ("event", "handler", "namespace", "takes"),
    [
        ("connect", lambda sid, environ: None, "/", 2),
        ("connect", lambda sid, environ, auth: None, "/", 3),
        ("connect", lambda sid, environ, auth=None: None, "/", 3),
        ("connect", lambda *arguments: None, "/", 3),
        ("connect", lambda namespace, sid, environ: None, "*", 2),
        ("connect", lambda namespace, sid, environ, auth: None, "*", 3),
        ("disconnect", lambda sid: None, "/", 1),
        ("disconnect", lambda sid, reason: None, "/", 2),
        ("disconnect", lambda sid, reason=None: None, "/", 2),
        ("disconnect", lambda namespace, sid: None, "*", 1),
        ("say", lambda sid: None, "/", None),
    ],
)
def test_handler_signature_is_inspected_once(event, handler, namespace, takes):
    handlers = Handlers(())
    handlers.add(event, handler, namespace)
    found = handlers.find(event, "/a" if namespace == "*" else namespace)
    assert found.arity == takes
    assert found.prefix_args == (("/a",) if namespace == "*" else ())


@pytest.mark.parametrize(
    ("event", "handler", "namespace"),
    [
        ("connect", lambda: None, "/"),
        ("connect", lambda sid: None, "/"),
        ("connect", lambda sid, environ, auth, more: None, "/"),
        ("connect", lambda sid, environ, *, auth: None, "/"),
        ("connect", lambda sid, environ: None, "*"),
        ("disconnect", lambda: None, "/"),
        ("disconnect", lambda sid, reason, more: None, "/"),
        ("disconnect", lambda sid: None, "*"),
        ("say", None, "/"),
        ("say", "say", "/"),
    ],
)
def test_handler_with_a_wrong_signature_raises(event, handler, namespace):
    with pytest.raises(ConfigError):
        Handlers(()).add(event, handler, namespace)


def test_class_with_a_wrong_method_signature_raises():
    class Wrong(Namespace):
        def on_connect(self, sid):
            """Too few."""

    for owner in (Wrong("/a"), Chat("*"), Any("/a"), object(), Chat):
        with pytest.raises(ConfigError):
            Handlers(()).add_class(owner)


@pytest.mark.parametrize("name", ["chat", "", " /", "**"])
def test_namespace_name_must_begin_with_a_slash(name):
    with pytest.raises(ConfigError):
        Chat(name)


def test_methods_receive_the_same_arguments_as_functions():
    handlers = Handlers(())
    handlers.add_class(Chat("/c"))
    handlers.add_class(Any("*"))
    assert [(handlers.find(e, "/c").arity, handlers.find(e, "/c").is_coroutine) for e in ("connect", "disconnect")] == [
        (2, True),
        (1, False),
    ]
    assert (handlers.find("connect", "/x").arity, handlers.find("connect", "/x").prefix_args) == (3, ("/x",))


@pytest.mark.parametrize(
    ("namespaces", "known", "unknown"),
    [
        (("/",), ["/"], ["/a", "/c"]),
        ("*", ["/", "/a", "/anything"], []),
        ("/a", ["/a"], ["/", "a", "/c"]),
        (["/a", "/b"], ["/a", "/b"], ["/", "/ab"]),
        ((), [], ["/", "*"]),
    ],
    ids=str,
)
def test_clients_can_join_named_and_handled_namespaces(namespaces, known, unknown):
    handlers = Handlers(namespaces)
    assert [name for name in (*known, *unknown) if handlers.knows(name)] == known
    handlers.add("say", named("x"), "/handled")
    handlers.add_class(Chat("/classy"))
    handlers.add("say", named("x"), "*")
    assert all(map(handlers.knows, ("/handled", "/classy")))
    assert [name for name in unknown if handlers.knows(name)] == []
