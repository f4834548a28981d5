"""Rules, and that a room's name is read in one way only."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from roomkey import ConfigError, Identity, Policy
from roomkey.core.policy import is_room_name

ADA = Identity("ada", rooms=("red",))
NAMES = st.text(min_size=1, max_size=12)


def asked(policy, room, namespace="/"):
    return [
        (question.name, question.arguments, dict(question.fields)) for question in policy.about_room(room, namespace)
    ]


@pytest.fixture
def teams():
    policy = Policy()

    @policy.room("team:{team}")
    def member(who, team):
        return team == "red"

    @policy.room("team:{team}/channel:{channel}")
    def reader(who, team, channel):
        return (team, channel) == ("red", "news")

    @policy.room("lobby")
    def everybody(who):
        return True

    return policy


def allows(policy, room, namespace="/"):
    return any(question.ask(ADA) is True for question in policy.about_room(room, namespace))


def test_templates(teams):
    assert asked(teams, "team:red") == [("room team:{team}", (), {"team": "red"})]
    assert asked(teams, "team:red/channel:news")[0][2] == {"team": "red", "channel": "news"}
    assert asked(teams, "lobby") == [("room lobby", (), {})]
    for room in ("team:red", "team:red/channel:news", "lobby"):
        assert allows(teams, room)


@pytest.mark.parametrize(
    "room",
    [
        "team:",
        "team:red:",
        "team:red:blue",
        "team:red/",
        "team:red/channel:",
        "team:red/channel:news/x",
        "xteam:red",
        "team:redx",
        "team:red\n",
        "team:red ",
        " team:red",
        "team:\u00a0red",
        "Team:red",
        "team:Red",
        "team:*",
        "*",
        "team:{team}",
        "team.red",
        "team：red",
        "lobby ",
        "Lobby",
        "lobb",
        "lobbyx",
        "",
        "team:red\0",
        "team:red\r\n",
        "team:re\u0301d",
        "team:" + "r" * 10_000,
        "\ud800",
        None,
        5,
        True,
        ["team:red"],
        {"room": "team:red"},
        b"team:red",
    ],
)
def test_f86_never_a_partial_match(teams, room):
    """Letter case, normal forms, trailing space, wildcards, separators, 10 kB, and what is no string."""
    assert not allows(teams, room)


@given(NAMES, st.sampled_from(["team:{x}", "{x}", "a:{x}:b", "a/{x}", "{x}/z", "{x}:{y}", "t:{x}/c:{y}"]), NAMES)
def test_f86_a_template_matches_whole_names_of_its_shape(room, template, other):
    policy = Policy()
    policy.room(template)(lambda who, **fields: True)
    for name in (room, template.replace("{x}", room).replace("{y}", other), f"team:{room}", f"{room}:{other}"):
        for _, _, fields in asked(policy, name):
            filled = template
            for field, value in fields.items():
                assert value
                assert not {":", "/"} & set(value)
                filled = filled.replace(f"{{{field}}}", value, 1)
            assert filled == name


@given(st.text(max_size=10))
def test_f86_two_spellings_are_one_room_or_none(name):
    policy = Policy()
    policy.room("*")(lambda who, room: True)
    decomposed = unicodedata.normalize("NFD", name)
    composed = unicodedata.normalize("NFC", name)
    assume(decomposed != composed)
    assert asked(policy, decomposed) == []
    for spelled in (name + " ", "\t" + name, name + "\0", name + "\x85", "\u2003" + name):
        assert asked(policy, spelled) == []


@given(st.text("ab:", min_size=1, max_size=6), st.text("ab:", min_size=1, max_size=6))
def test_f86_a_separator_cannot_be_smuggled_in(user, room):
    """Somebody named ``a:b`` gets no room of the template ``user:{sub}``, rather than the room of ``b``."""
    policy = Policy()
    policy.room("user:{sub}")(lambda who, sub: who.subject == sub)
    who = Identity(user)
    allowed = any(question.ask(who) is True for question in policy.about_room(f"user:{room}", "/"))
    assert allowed == (user == room and ":" not in user)


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "{",
        "}",
        "{}",
        "{Team}",
        "{1}",
        "{a b}",
        "team:*",
        "**",
        "{a}:{a}",
        "{a",
        "a}",
        "{a}{b}",
        "{a}-{b}",
        "{a} {b}",
    ],
)
def test_patterns_that_cannot_be_read(pattern):
    with pytest.raises(ConfigError, match="room pattern"):
        Policy().room(pattern)


def test_a_pattern_is_no_regular_expression():
    policy = Policy()
    policy.room("a.b+(c)")(lambda who: True)
    assert allows(policy, "a.b+(c)")
    assert not allows(policy, "axb+(c)")
    assert not allows(policy, "a.bbc")


def test_many_fields_take_no_time():
    policy = Policy()
    policy.room("{a}:{b}:{c}:{d}:{e}:{f}:z")(lambda who, **fields: True)
    assert not allows(policy, ":".join("-" * 30 for _ in range(7)))


def test_the_defaults():
    policy = Policy()
    assert policy.about_namespace("/any") is None
    assert policy.about_event("any", "/") is None
    assert policy.about_room("any", "/") == []
    closed = Policy(open_namespaces=False, open_events=False)
    assert closed.about_namespace("/any") == []
    assert closed.about_event("any", "/") == []


def test_namespaces():
    policy = Policy()

    @policy.namespace("/admin")
    def staff(who):
        return who.has_role("admin")

    assert [question.ask(ADA) for question in policy.about_namespace("/admin")] == [False]
    for other in ("/Admin", "/admin/", "/admin?x", "//admin"):
        assert policy.about_namespace(other) is None
    with pytest.raises(ConfigError, match="already"):
        policy.namespace("/admin")(staff)
    with pytest.raises(ConfigError, match="begins"):
        policy.namespace("admin")


def test_events_everywhere_and_in_one_namespace():
    policy = Policy()
    policy.event("delete")(lambda who: True)
    policy.event("delete", namespace="/admin")(lambda who: False)
    assert [question.ask(ADA) for question in policy.about_event("delete", "/")] == [True]
    assert [question.ask(ADA) for question in policy.about_event("delete", "/admin")] == [False, True]
    assert policy.about_event("Delete", "/") is None
    with pytest.raises(ConfigError, match="already"):
        policy.event("delete")(lambda who: True)


def test_rooms_of_one_namespace():
    policy = Policy()
    policy.room("red", namespace="/chat")(lambda who: True)
    assert allows(policy, "red", "/chat")
    assert not allows(policy, "red", "/")
    assert not allows(policy, "red", "/chat/")


def test_a_decorator_gives_the_rule_back():
    policy = Policy()

    def rule(who):
        return True

    assert policy.namespace("/a")(rule) is policy.event("e")(rule) is policy.room("r")(rule) is rule


def test_room_names():
    assert is_room_name("x" * 255)
    assert is_room_name("Zoë 😀 \u2028x")
    assert not is_room_name("x" * 256)


@pytest.mark.parametrize(
    "register",
    [
        lambda policy: policy.room("*")(lambda who: True),
        lambda policy: policy.room("team:{team}")(lambda who: True),
        lambda policy: policy.room("team:{team}")(lambda who, other: True),
        lambda policy: policy.room("lobby")(lambda: True),
        lambda policy: policy.event("x")(lambda: True),
        lambda policy: policy.namespace("/x")(lambda who, more: True),
    ],
)
def test_a_rule_that_cannot_be_called_is_refused_when_it_is_registered(register):
    with pytest.raises(ConfigError, match="is called as rule"):
        register(Policy())


def test_a_room_decorator_without_its_pattern_says_so():
    with pytest.raises(ConfigError, match="pattern"):
        Policy().room(lambda who: True)
