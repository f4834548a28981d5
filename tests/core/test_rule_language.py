"""Rules in text: their meaning, that they always return a result, and the errors for invalid rules."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from roomkey import ConfigError, Identity, Policy
from roomkey.core.rule_language import MAX_DEPTH, MAX_TEXT, RESERVED, RuleError, compile_rule

ADA = Identity.from_claims(
    {
        "sub": "ada",
        "roles": ["admin", "night shift", "a)b"],
        "scope": "rooms:write",
        "rooms": {"lobby": ["join", "emit:message"], "team-*": ["join"]},
        "teams": ["red", 1, True],
        "plan": "pro",
        "level": 1,
        "zero": 0,
        "staff": True,
        "word": "true",
        "owner": "ada",
        "https://app.example/team": "red",
    }
)
EVE = Identity.from_claims({"sub": "eve", "teams": "redteam", "staff": 1, "rooms": "lobby"})
GUEST = Identity.guest()
FIELDS = {"team": "red", "other": "blue"}


def allows(text, who=ADA, about="room", **asked):
    return compile_rule(text, FIELDS, about)(who, **{**FIELDS, **asked})


@pytest.mark.parametrize(
    "text",
    [
        "everyone",
        "role:admin",
        'role:"night shift"',
        "role:'night shift'",
        'role:"a)b"',
        "scope:rooms:write",
        "sub is 'ada'",
        "sub is sub",
        "claim:owner is sub",
        "claim:staff",
        "claim:staff is true",
        "claim:plan is 'pro'",
        "claim:level is 1",
        "claim:level is 1.0",
        "claim:level is 10e-1",
        "claim:zero is -0",
        "claim:word is 'true'",
        "claim:teams has team",
        "claim:teams has 'red'",
        "claim:teams has 1",
        "claim:teams has true",
        "claim:https://app.example/team is team",
        "team is 'red'",
        "team is team",
        "not guest",
        "not(guest)",
        "not not everyone",
        "((everyone))",
        "  everyone\n\tor nobody ",
    ],
)
def test_rule_allows(text):
    assert allows(text) is True


@pytest.mark.parametrize(
    "text",
    [
        "nobody",
        "guest",
        "not everyone",
        "role:Admin",
        "role:adm",
        "role:night",
        "role:'admin '",
        "scope:rooms",
        "scope:write",
        "sub is 'Ada'",
        "sub is team",
        "team is other",
        "team is sub",
        "claim:absent",
        "claim:absent is ''",
        "claim:absent is false",
        "claim:absent has 'red'",
        "claim:level",
        "claim:word",
        "claim:plan",
        "claim:teams",
        "claim:level is true",
        "claim:level is '1'",
        "claim:staff is 1",
        "claim:zero is false",
        "claim:word is true",
        "claim:teams is 'red'",
        "claim:teams has '1'",
        "claim:teams has other",
        "claim:teams has false",
        "claim:plan has 'pro'",
        "claim:plan has 'p'",
        "claim:rooms has 'lobby'",
    ],
)
def test_rule_denies(text):
    assert allows(text) is False


def test_strings_contain_nothing_and_types_count():
    assert not allows("claim:teams has 'red'", EVE)
    assert not allows("claim:teams has 'redteam'", EVE)
    assert not allows("claim:staff", EVE)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("everyone or nobody and nobody", True),
        ("(everyone or nobody) and nobody", False),
        ("not nobody or everyone", True),
        ("not (nobody or everyone)", False),
        ("not nobody and nobody", False),
        ("not everyone or everyone", True),
        ("nobody or nobody or everyone", True),
        ("everyone and everyone and nobody", False),
    ],
)
def test_not_binds_tighter_than_and_tighter_than_or(text, expected):
    assert allows(text) is expected


def test_guest_condition_is_true_for_guests():
    assert allows("guest", GUEST)
    assert allows("everyone", GUEST)
    for text in ("not guest", "role:admin", "claim:staff", "granted", "sub is ''", "claim:owner is sub", "sub is sub"):
        assert not allows(text, GUEST)


def test_missing_subject_equals_nothing():
    assert not allows("claim:owner is sub", Identity.from_claims({"owner": ""}))


def test_granted_checks_the_rooms_claim():
    assert allows("granted", room="lobby")
    assert allows("granted", room="team-red")
    assert not allows("granted", room="attic")
    assert not allows("granted")
    assert allows("granted", about="emit", room="lobby", event="message")
    assert not allows("granted", about="emit", room="lobby", event="delete")
    assert not allows("granted", about="emit", room="team-red", event="message")


def test_grant_to_join_does_not_grant_an_event_without_a_name():
    assert not allows("granted", about="emit", room="lobby", event="")


def test_granted_is_rejected_outside_rooms_and_emits():
    for about in ("namespace", "event"):
        with pytest.raises(RuleError, match=f"'granted' is about rooms; it is not valid for an? {about}") as caught:
            compile_rule("everyone and granted", (), about)
        assert caught.value.offset == 13


def test_policy_passes_room_and_event_to_declared_rules():
    policy = Policy()
    policy.room("*")(compile_rule("granted"))
    policy.room("hall:{team}")(compile_rule("granted or team is 'red'", ["team"]))
    policy.emit("*")(compile_rule("granted", (), "emit"))
    policy.emit("hall:{team}")(compile_rule("granted or team is 'red'", ["team"], "emit"))
    policy.namespace("/a")(compile_rule("role:admin", (), "namespace"))
    policy.event("e")(compile_rule("role:admin", (), "event"))

    def answers(rules):
        return [rule.ask(ADA) for rule in rules.rules]

    assert answers(policy.rules_for_room("lobby", "/")) == [True]
    assert answers(policy.rules_for_room("attic", "/")) == [False]
    assert answers(policy.rules_for_room("hall:red", "/")) == [False, True]
    assert answers(policy.rules_for_emit("lobby", "message", "/")) == [True]
    assert answers(policy.rules_for_emit("lobby", "delete", "/")) == [False]
    assert answers(policy.rules_for_emit("hall:red", "message", "/")) == [False, True]
    assert answers(policy.rules_for_namespace("/a")) == answers(policy.rules_for_event("e", "/")) == [True]


def test_repr_shows_the_text():
    assert repr(compile_rule("role:admin")) == "DeclaredRule(text='role:admin')"


MISTAKES = [
    ("", 0, "expected a condition (everyone, "),
    ("   ", 3, "expected a condition"),
    ("gest", 0, "not 'gest'; did you mean guest?"),
    ("admin", 0, "role:…, "),
    ("rol:admin", 0, "did you mean role:?"),
    ("role:", 5, "expected a name after 'role:'"),
    ("role: admin", 5, "expected a name after 'role:'"),
    ("role:''", 5, "expected a name after 'role:'"),
    ("claim:rooms has", 15, "expected a value after 'has', such as team or \"red\""),
    ("claim:rooms has and guest", 16, "expected a value after 'has'"),
    ("(claim:rooms has)", 16, "expected a value after 'has'"),
    ("claim:rooms has tem", 16, "did you mean team?"),
    ("claim:rooms has pink", 16, 'quote it if it is text ("pink"); the fields are team, other'),
    ("claim:rooms has 5a", 16, "'5a' is not a value"),
    ("claim:rooms has 007", 16, "'007' is not a value"),
    ("claim:rooms hsa team", 12, "did you mean has?"),
    ("claim:rooms contains team", 12, "expected 'and', 'or' or the end, not 'contains'"),
    ("(claim:rooms hsa team)", 13, "did you mean has?"),
    ("claim:x is 1e999", 11, "too large"),
    ("claim:x is 1 is 1", 13, "expected 'and', 'or' or the end"),
    ("team", 4, "expected 'is' after 'team'"),
    ("team has other", 5, "expected 'is' after 'team', not 'has'"),
    ("sub is 5", 7, 'sub is text and never equals 5; write "5"'),
    ("team is true", 8, 'team is text and never equals true; write "true"'),
    ("everyone OR guest", 9, "did you mean or?"),
    ("everyone guest", 9, "expected 'and', 'or' or the end, not 'guest'"),
    ("everyone )", 9, "not ')'"),
    ("everyone or", 11, "expected a condition"),
    ("not", 3, "expected a condition"),
    ("()", 1, "expected a condition"),
    ("(everyone", 9, "the ')' for the '(' at character 1"),
    ("sub is 'ada", 7, "expected a closing '"),
    ('role:"ada', 5, 'expected a closing "'),
    ("'red'", 0, "expected a condition"),
    ("a" * (MAX_TEXT + 1), MAX_TEXT, "use at most 1000"),
    ("not " * 51 + "guest", 200, "more than 50 nested"),
    ("(" * 51 + "guest" + ")" * 51, 50, "more than 50 nested"),
]


@pytest.mark.parametrize(("text", "offset", "said"), MISTAKES, ids=lambda value: str(value)[:30])
def test_rule_error_has_position_and_expectation(text, offset, said):
    with pytest.raises(RuleError) as caught:
        compile_rule(text, FIELDS)
    assert said in str(caught.value)
    assert caught.value.offset == offset
    assert isinstance(caught.value, ConfigError)
    assert "\n" not in str(caught.value)


def test_has_is_suggested_after_claims_only():
    for text in ("claim:rooms and everyone has", "(claim:rooms) has", "claim:rooms has 'red' has"):
        with pytest.raises(RuleError, match=r"not 'has'$"):
            compile_rule(text)


def test_missing_field_equals_nothing():
    assert compile_rule("team is team", ["team"])(ADA) is False


def test_largest_accepted_rule():
    assert allows("(" * MAX_DEPTH + "everyone" + ")" * MAX_DEPTH)
    assert allows("not " * MAX_DEPTH + "everyone")
    assert allows(" or ".join(["(guest)"] * 90 + ["(everyone)"]))
    assert allows("everyone".ljust(MAX_TEXT))
    assert not allows(f"claim:level is {'9' * 900}")


@pytest.mark.parametrize("word", sorted(RESERVED))
def test_a_field_cannot_be_named_like_a_word_of_the_language(word):
    with pytest.raises(ConfigError, match=f"a field named '{word}'"):
        compile_rule("everyone", ["team", word])


WORDS = st.sampled_from(
    ["everyone", "nobody", "guest", "granted", "sub", "team", "role:a", "role:'a", "scope:a", "claim:a", "claim:"]
) | st.sampled_from(
    ["is", "has", "and", "or", "not", "(", ")", "true", "1", "-1.5e3", "'a'", '"', "'", "x", "\n", "\0", "İ"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)
CLAIM_NAMES = st.sampled_from(["a", "sub", "role", "roles", "scope", "rooms", "iat"])


def read(text):
    try:
        return compile_rule(text, ["team"])
    except RuleError as error:
        return error


@given(st.text(max_size=60) | st.lists(WORDS, max_size=12).map(" ".join) | st.lists(WORDS, max_size=8).map("".join))
@example("(" * 1000)
@example("\ud800")
def test_compile_rule_raises_only_rule_errors(text):
    rule = read(text)
    if isinstance(rule, RuleError):
        assert 0 <= rule.offset <= len(text)
        assert str(rule)
    else:
        assert isinstance(rule(ADA, team="red"), bool)


# A model of the language in a few lines: the text of a tree, and its meaning.

VALUES = st.sampled_from(["a", "b", "", 0, 1, -2, True, False])
TEXTS = st.sampled_from(["a", "b", ""])


def same(left, right):
    return json.dumps(left) == json.dumps(right)


def written(value):
    return json.dumps(value)


LEAVES = st.one_of(
    st.sampled_from(
        [
            ("everyone", lambda who, team: True),
            ("nobody", lambda who, team: False),
            ("guest", lambda who, team: who == GUEST),
            ("role:a", lambda who, team: "a" in who.roles),
            ('scope:"b"', lambda who, team: "b" in who.scopes),
            ("sub is team", lambda who, team: who.subject == team),
            ("claim:x is team", lambda who, team: who.claims.get("x") == team),
            ("claim:x is sub", lambda who, team: who.subject != "" and who.claims.get("x") == who.subject),
            ("claim:x", lambda who, team: same(who.claims.get("x"), True)),
        ]
    ),
    VALUES.map(lambda value: (f"claim:x is {written(value)}", lambda who, team: same(who.claims.get("x"), value))),
    VALUES.map(
        lambda value: (
            f"claim:x has {written(value)}",
            lambda who, team: (
                isinstance(who.claims.get("x"), list) and written(value) in map(json.dumps, who.claims["x"])
            ),
        )
    ),
    TEXTS.map(lambda value: (f"team is {written(value)}", lambda who, team: team == value)),
)
TREES = st.recursive(
    LEAVES,
    lambda inner: (
        st.tuples(st.sampled_from(["and", "or"]), st.lists(inner, min_size=2, max_size=3))
        | st.tuples(st.just("not"), inner)
    ),
    max_leaves=8,
)
STRENGTH = {"or": 0, "and": 1, "not": 2}


def printed(tree, around=0):
    operator, rest = tree
    if operator not in STRENGTH:
        return operator
    strength = STRENGTH[operator]
    text = (
        f"not {printed(rest, strength)}"
        if operator == "not"
        else f" {operator} ".join(printed(one, strength + 1) for one in rest)
    )
    return f"({text})" if strength < around else text


def meaning(tree, who, team):
    operator, rest = tree
    if operator == "not":
        return not meaning(rest, who, team)
    if operator in STRENGTH:
        return {"and": all, "or": any}[operator]([meaning(one, who, team) for one in rest])
    return rest(who, team)


IDENTITIES = st.just(GUEST) | st.builds(
    Identity,
    st.sampled_from(["a", "b"]),
    roles=st.frozensets(TEXTS),
    scopes=st.frozensets(TEXTS),
    claims=st.dictionaries(st.just("x"), VALUES | st.lists(VALUES, max_size=3) | JSON),
)


@given(TREES, IDENTITIES, st.sampled_from(["a", "b"]))
def test_rule_decides_like_a_model(tree, who, team):
    assert compile_rule(printed(tree), ["team"])(who, team=team) is meaning(tree, who, team)


@given(TREES, st.dictionaries(CLAIM_NAMES | st.just("x"), JSON))
def test_rule_returns_a_bool_for_any_claims(tree, claims):
    rule = compile_rule(f"({printed(tree)}) or granted and claim:a has sub", ["team"], "emit")
    assert isinstance(rule(Identity.from_claims(claims), room="a", event="b", team="a"), bool)
