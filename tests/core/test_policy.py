"""Rules, and the unique reading of room names."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from roomkey import ConfigError, Identity, Policy
from roomkey.core.names import is_room_name
from roomkey.core.policy import CLOSED, OPEN, BoundRule, RuleSet
from roomkey.policies import emit_claim, own_rooms, rooms_claim

ADA = Identity("ada", rooms=("red",))
NAMES = st.text(min_size=1, max_size=12)


def told(rules):
    return [(rule.name, rule.arguments, dict(rule.fields)) for rule in rules.rules]


def asked(policy, room, namespace="/"):
    return told(policy.rules_for_room(room, namespace))


def answers(rules, who=ADA):
    return [rule.ask(who) for rule in rules.rules]


def decided(rules, who=ADA):
    """Decide as a guard does."""
    if not rules.rules:
        return rules.default
    return (all if rules.require_all else any)(answer is True for answer in answers(rules, who))


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


def allows(policy, room, namespace="/", who=ADA):
    return decided(policy.rules_for_room(room, namespace), who)


def test_pattern_fields_are_passed_to_the_rule(teams):
    assert asked(teams, "team:red") == [("room team:{team}", (), {"team": "red"})]
    assert asked(teams, "team:red/channel:news")[0][2] == {"team": "red", "channel": "news"}
    assert asked(teams, "lobby") == [("room lobby", (), {})]
    for room in ("team:red", "team:red/channel:news", "lobby"):
        assert allows(teams, room)


@pytest.mark.checklist("F86")
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
def test_room_pattern_never_matches_partially(teams, room):
    """Letter case, normal forms, trailing space, wildcards, separators, 10 kB, and other types."""
    assert not allows(teams, room)


@pytest.mark.checklist("F86")
@given(NAMES, st.sampled_from(["team:{x}", "{x}", "a:{x}:b", "a/{x}", "{x}/z", "{x}:{y}", "t:{x}/c:{y}"]), NAMES)
def test_room_template_matches_whole_names_only(room, template, other):
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


@pytest.mark.checklist("F86")
@given(st.text(max_size=10))
def test_room_spellings_are_one_room_or_invalid(name):
    policy = Policy()
    policy.room("*")(lambda who, room: True)
    decomposed = unicodedata.normalize("NFD", name)
    composed = unicodedata.normalize("NFC", name)
    assume(decomposed != composed)
    assert asked(policy, decomposed) == []
    for spelled in (name + " ", "\t" + name, name + "\0", name + "\x85", "\u2003" + name):
        assert asked(policy, spelled) == []


@pytest.mark.checklist("F86")
@given(st.text("ab:", min_size=1, max_size=6), st.text("ab:", min_size=1, max_size=6))
def test_room_parameter_cannot_contain_a_separator(user, room):
    """A user named ``a:b`` does not match ``user:{sub}``, and does not get the room of ``b``."""
    policy = Policy()
    policy.room("user:{sub}")(lambda who, sub: who.subject == sub)
    who = Identity(user)
    assert allows(policy, f"user:{room}", who=who) == (user == room and ":" not in user)


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
def test_invalid_patterns_are_rejected(pattern):
    with pytest.raises(ConfigError, match="room pattern"):
        Policy().room(pattern)


def test_pattern_with_a_star_inside_has_an_error_about_fields():
    with pytest.raises(ConfigError, match=r"fields such as 'team:\{team\}', or '\*' alone"):
        Policy().room("team:*")


def test_pattern_is_not_a_regular_expression():
    policy = Policy()
    policy.room("a.b+(c)")(lambda who: True)
    assert allows(policy, "a.b+(c)")
    assert not allows(policy, "axb+(c)")
    assert not allows(policy, "a.bbc")


def test_many_fields_match_quickly():
    policy = Policy()
    policy.room("{a}:{b}:{c}:{d}:{e}:{f}:z")(lambda who, **fields: True)
    assert not allows(policy, ":".join("-" * 30 for _ in range(7)))


def test_default_policy_closes_only_rooms():
    policy = Policy()
    assert policy.rules_for_namespace("/any") is OPEN
    assert policy.rules_for_event("any", "/") is OPEN
    assert policy.rules_for_room("any", "/") == CLOSED
    assert policy.rules_for_emit("any", "message", "/") == OPEN
    assert (decided(OPEN), decided(CLOSED)) == (True, False)
    closed = Policy(open_namespaces=False, open_events=False, open_emits=False)
    closed.event("other")(lambda who: True)
    for rules in (
        closed.rules_for_namespace("/any"),
        closed.rules_for_event("any", "/"),
        Policy(open_events=False).rules_for_event("any", "/"),
        closed.rules_for_room("any", "/"),
        closed.rules_for_emit("any", "message", "/"),
    ):
        assert rules == CLOSED


def test_event_without_a_rule_stays_open():
    policy = Policy()
    policy.event("other")(lambda who: False)
    assert policy.rules_for_event("any", "/") is OPEN


def test_namespace_rule_applies_to_its_namespace():
    policy = Policy()

    @policy.namespace("/admin")
    def staff(who):
        return who.has_role("admin")

    assert policy.rules_for_namespace("/admin") == RuleSet((BoundRule("namespace /admin", staff),))
    assert answers(policy.rules_for_namespace("/admin")) == [False]
    for other in ("/Admin", "/admin/", "/admin?x", "//admin"):
        assert policy.rules_for_namespace(other) is OPEN
    with pytest.raises(ConfigError, match="already"):
        policy.namespace("/admin")(staff)
    with pytest.raises(ConfigError, match="invalid namespace 'admin'"):
        policy.namespace("admin")


def test_event_rules_apply_everywhere_or_in_one_namespace():
    policy = Policy()
    policy.event("delete")(lambda who: True)
    policy.event("delete", namespace="/admin")(lambda who: False)
    assert answers(policy.rules_for_event("delete", "/")) == [True]
    assert answers(policy.rules_for_event("delete", "/admin")) == [False, True]
    assert not decided(policy.rules_for_event("delete", "/admin"))
    assert policy.rules_for_event("Delete", "/") is OPEN
    with pytest.raises(ConfigError, match="already"):
        policy.event("delete")(lambda who: True)


def test_max_auth_age_is_part_of_a_rule():
    policy = Policy()
    policy.event("transfer", max_auth_age=300)(lambda who: True)
    policy.event("transfer", namespace="/bank")(lambda who: True)
    policy.event("read")(lambda who: True)
    assert [rule.max_auth_age for rule in policy.rules_for_event("transfer", "/bank").rules] == [None, 300]
    assert [rule.max_auth_age for rule in policy.rules_for_event("read", "/").rules] == [None]


@pytest.mark.parametrize("max_auth_age", [0, -1, float("inf"), float("nan")])
def test_max_auth_age_is_a_number_of_seconds(max_auth_age):
    with pytest.raises(ConfigError, match="max_auth_age"):
        Policy().event("transfer", max_auth_age=max_auth_age)


def test_expand_roles_adds_included_roles():
    policy = Policy(roles="admin > member")
    root = policy.expand_roles(Identity("root", roles=frozenset({"admin"}), source="auth"))
    assert root == Identity("root", roles=frozenset({"admin", "member"}), source="auth")
    assert policy.expand_roles(ADA) == ADA
    assert Policy().expand_roles(ADA) is ADA
    with pytest.raises(ConfigError, match="include itself"):
        Policy(roles=["a > b", "b > a"])


def test_emit_rules_match_room_and_event():
    policy = Policy()
    policy.emit("team:{team}")(lambda who, team: team == "red")
    policy.emit("team:{team}", event="delete")(lambda who, team: False)
    policy.emit("hall", namespace="/chat")(lambda who: False)
    assert told(policy.rules_for_emit("team:red", "message", "/")) == [("emit team:{team}", (), {"team": "red"})]
    assert answers(policy.rules_for_emit("team:red", "delete", "/")) == [True, False]
    assert decided(policy.rules_for_emit("team:red", "message", "/"))
    assert not decided(policy.rules_for_emit("team:blue", "message", "/"))
    assert not policy.rules_for_emit("team:blue", "message", "/").default
    assert policy.rules_for_emit("hall", "message", "/") == OPEN
    assert not decided(policy.rules_for_emit("hall", "message", "/chat"))


def test_emit_rule_for_one_event_leaves_others_open():
    policy = Policy()
    policy.emit("hall", event="delete")(lambda who: False)
    assert not decided(policy.rules_for_emit("hall", "delete", "/"))
    assert decided(policy.rules_for_emit("hall", "Delete", "/"))


def test_emit_rules_do_not_apply_to_joins():
    policy = Policy()
    policy.emit("*")(lambda who, room: True)
    assert not allows(policy, "hall")
    policy.room("attic")(lambda who: False)
    assert decided(policy.rules_for_emit("attic", "message", "/"))


@pytest.mark.parametrize("room", ["", "hall ", "hall\n", "hall\0", "re\u0301d", "x" * 256, None, 5, ["hall"]])
def test_invalid_room_names_are_always_closed(room):
    policy = Policy(open_emits=True)
    policy.room("*")(lambda who, room: True)
    assert policy.rules_for_room(room, "/") == CLOSED
    assert policy.rules_for_emit(room, "message", "/") == CLOSED


@pytest.mark.parametrize("kind", ["room", "emit"])
def test_wildcard_never_matches_users_own_rooms(kind):
    policy = Policy(open_emits=False)
    getattr(policy, kind)("*")(lambda who, room: True)

    def decide(room):
        return decided(
            policy.rules_for_room(room, "/") if kind == "room" else policy.rules_for_emit(room, "message", "/")
        )

    assert decide("users")
    assert decide("user")
    assert not decide("user:ada")
    assert not decide("user:")
    getattr(policy, kind)("user:{sub}")(own_rooms)
    assert decide("user:ada")
    assert not decide("user:eve")


def test_rules_get_room_and_event_if_they_have_the_parameters():
    policy = Policy()
    policy.room("team:{team}")(lambda who, team, room: (team, room) == ("red", "team:red"))
    policy.room("lobby")(lambda who, **extras: extras == {})
    policy.emit("team:{team}")(lambda who, team, *, room, event: (team, room, event) == ("red", "team:red", "message"))
    policy.emit("*", event="ping")(lambda who, room, event: (room, event) == ("hall", "ping"))
    policy.emit("own:{room}")(lambda who, room: room == "x")  # a field wins
    assert allows(policy, "team:red")
    assert allows(policy, "lobby")
    assert decided(policy.rules_for_emit("team:red", "message", "/"))
    assert not decided(policy.rules_for_emit("team:red", "delete", "/"))
    assert told(policy.rules_for_emit("hall", "ping", "/")) == [("emit *", ("hall",), {"event": "ping"})]
    assert decided(policy.rules_for_emit("hall", "ping", "/"))
    assert decided(policy.rules_for_emit("own:x", "message", "/"))


def test_rules_for_the_rooms_claim():
    policy = Policy(open_emits=False)
    policy.room("*")(rooms_claim)
    policy.emit("*")(emit_claim)
    who = Identity.from_claims({"sub": "ada", "rooms": {"hall": ["join", "emit:message"], "team-*": ["join"]}})
    root = Identity("root", roles=frozenset({"admin"}))
    joins = [room for room in ("hall", "team-red", "attic", "user:eve") if allows(policy, room, who=who)]
    assert joins == ["hall", "team-red"]
    assert decided(policy.rules_for_emit("hall", "message", "/"), who)
    assert not decided(policy.rules_for_emit("hall", "delete", "/"), who)
    assert not decided(policy.rules_for_emit("team-red", "message", "/"), who)
    assert allows(policy, "attic", who=root)
    assert decided(policy.rules_for_emit("attic", "delete", "/"), root)
    assert not allows(policy, "user:eve", who=root)


def test_room_rule_applies_to_its_namespace():
    policy = Policy()
    policy.room("red", namespace="/chat")(lambda who: True)
    assert allows(policy, "red", "/chat")
    assert not allows(policy, "red", "/")
    assert not allows(policy, "red", "/chat/")


def test_decorators_return_the_rule():
    policy = Policy()

    def rule(who):
        return True

    given_back = [policy.namespace("/a")(rule), policy.event("e")(rule), policy.room("r")(rule), policy.emit("r")(rule)]
    assert given_back == [rule] * 4


def test_is_room_name_accepts_normalized_names():
    assert is_room_name("x" * 255)
    assert is_room_name("Zoë 😀 x")
    assert not is_room_name("x" * 256)
    assert not is_room_name("Zoë\u2028x")


@pytest.mark.parametrize(
    "register",
    [
        lambda policy: policy.room("*")(lambda who: True),
        lambda policy: policy.room("team:{team}")(lambda who: True),
        lambda policy: policy.room("team:{team}")(lambda who, other: True),
        lambda policy: policy.room("lobby")(lambda: True),
        lambda policy: policy.emit("*")(lambda who: True),
        lambda policy: policy.emit("team:{team}")(lambda who, room, event: True),
        lambda policy: policy.event("x")(lambda: True),
        lambda policy: policy.namespace("/x")(lambda who, more: True),
    ],
)
def test_rule_with_wrong_parameters_is_rejected_when_registered(register):
    with pytest.raises(ConfigError, match="define it as rule"):
        register(Policy())


def test_decorator_without_a_pattern_is_rejected():
    for kind in ("room", "emit"):
        with pytest.raises(ConfigError, match=f"pattern, such as @policy.{kind}"):
            getattr(Policy(), kind)(lambda who: True)


def test_event_wildcard_covers_events_without_a_rule_of_their_own():
    policy = Policy()
    policy.event("*")(lambda who, event: event.startswith("read"))
    policy.event("*", namespace="/staff")(lambda who: who.has_role("staff"))
    policy.event("write")(lambda who: True)
    assert decided(policy.rules_for_event("read-page", "/"))
    assert not decided(policy.rules_for_event("delete", "/"))
    assert not decided(policy.rules_for_event("join-room", "/"))
    assert decided(policy.rules_for_event("write", "/staff"))
    assert not decided(policy.rules_for_event("read-page", "/staff"))
    assert told(policy.rules_for_event("delete", "/")) == [("event *", (), {"event": "delete"})]


@pytest.mark.parametrize(
    "name", ["connect", "disconnect", "connect_error", "disconnecting", "newListener", "authenticate", "", 5, "a\nb"]
)
def test_policy_rejects_rules_for_events_that_never_reach_one(name):
    policy = Policy()
    for register in (policy.event, lambda event: policy.emit("red", event=event)):
        with pytest.raises(ConfigError, match="has no effect"):
            register(name)
    with pytest.raises(ConfigError, match="omit the event"):
        policy.emit("red", event="*")
    assert policy.rules_for_event("message", "/") is OPEN


@pytest.mark.parametrize(
    "register",
    [
        *(lambda policy, name=name: policy.namespace(name) for name in ("*", "/a,b", "/a?b", 5)),
        *(lambda policy, kind=kind: getattr(policy, kind)("r", namespace="/a,b") for kind in ("event", "room", "emit")),
        lambda policy: policy.room("conversation_1234567"),  # looks like a socket ID: denied without a rule
        lambda policy: policy.emit("conversation_1234567"),
    ],
)
def test_rule_for_an_impossible_name_is_rejected(register):
    with pytest.raises(ConfigError):
        register(Policy())


def test_policy_lists_what_its_rules_are_about():
    policy = Policy()
    for register in (
        policy.namespace("/admin"),
        policy.event("delete", namespace="/admin"),
        policy.event("*"),
        policy.room("red"),
        policy.emit("blue", event="say"),
    ):
        register(lambda who: True)
    assert [(str(rule), rule.namespace, rule.event) for rule in policy.written_rules()] == [
        ("namespace /admin", "/admin", None),
        ("event delete", "/admin", None),
        ("event *", None, None),
        ("room red", None, None),
        ("emit blue", None, "say"),
    ]
