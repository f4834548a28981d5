"""Rules in ``roomkey.toml``: the policy that they declare, and the positions of errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomkey import ConfigError, Identity, Policy, Verifier
from roomkey.core.policy import CLOSED, OPEN, RuleSet
from roomkey.server.backends import make_backend
from roomkey.server.config_file import ConfigFile, read_config
from roomkey.server.policy_file import load_policy
from roomkey.server.settings import Settings
from roomkey.server.settings_sources import load_settings

DOCUMENT = """\
port = 8080
roles = ["admin > moderator > member"]

[[namespace]]
name = "/admin"
allow = "role:admin"

[[room]]
pattern = "team:{team}"
allow = "role:moderator or claim:rooms has team or scope:rooms:write"

[[room]]
pattern = "user:{name}"
allow = "name is sub"
namespace = "/chat"

[[emit]]
pattern = "team:{team}"
event = "message"
allow = "granted"

[[presence]]
pattern = "team:{team}"
allow = "granted or team is 'green'"

[[event]]
name = "transfer"
allow = "role:clerk and not guest"
max_auth_age = 300
namespace = "/bank"
"""
ADA = Identity.from_claims({"sub": "ada", "roles": ["clerk"], "rooms": ["red", "team:red"]})


def declared(source: str) -> Policy:
    policy = load_policy(ConfigFile.parse(source))
    assert policy is not None
    return policy


def mistake(source: str) -> str:
    with pytest.raises(ConfigError) as caught:
        declared(source)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def decided(rule_set: RuleSet, who: Identity = ADA) -> bool:
    answers = [rule.ask(who) for rule in rule_set.rules]
    return any(answers) if answers else rule_set.default


def test_file_with_all_tables_is_a_policy() -> None:
    policy = declared(DOCUMENT)
    moderator = policy.expand_roles(Identity("m", roles=frozenset({"admin"})))
    assert not decided(policy.rules_for_namespace("/admin"))
    assert decided(policy.rules_for_namespace("/admin"), moderator)
    assert policy.rules_for_namespace("/other") is OPEN

    assert decided(policy.rules_for_room("team:red", "/"))
    assert not decided(policy.rules_for_room("team:blue", "/"))
    assert decided(policy.rules_for_room("team:blue", "/chat"), moderator)
    assert decided(policy.rules_for_room("user:ada", "/chat"))
    assert not decided(policy.rules_for_room("user:eve", "/chat"))
    assert policy.rules_for_room("user:ada", "/") == CLOSED

    assert decided(policy.rules_for_emit("team:red", "message", "/"))
    assert not decided(policy.rules_for_emit("team:blue", "message", "/"))
    assert policy.rules_for_emit("team:blue", "delete", "/") == OPEN

    assert decided(policy.rules_for_presence("team:red", "/"))
    assert not decided(policy.rules_for_presence("team:blue", "/"))
    assert decided(policy.rules_for_presence("team:green", "/"))
    assert policy.rules_for_presence("lobby", "/") == CLOSED

    (rule,) = policy.rules_for_event("transfer", "/bank").rules
    assert (rule.ask(ADA), rule.ask(Identity.guest()), rule.max_auth_age) == (True, False, 300)
    assert policy.rules_for_event("transfer", "/") is OPEN


def test_file_without_rules_has_no_policy() -> None:
    assert load_policy(ConfigFile.parse("")) is None
    assert load_policy(ConfigFile.parse("port = 5")) is None


@pytest.mark.parametrize("kind", ["room", "emit", "presence", "event", "namespace"])
def test_one_table_is_a_policy(kind: str) -> None:
    subject = "name" if kind in ("event", "namespace") else "pattern"
    policy = declared(f'[[{kind}]]\n{subject} = "/x"\nallow = "nobody"')
    about = {
        "room": policy.rules_for_room("/x", "/"),
        "emit": policy.rules_for_emit("/x", "e", "/"),
        "presence": policy.rules_for_presence("/x", "/"),
        "event": policy.rules_for_event("/x", "/"),
        "namespace": policy.rules_for_namespace("/x"),
    }
    assert [name for name, rule_set in about.items() if rule_set.rules] == [kind]
    assert not decided(about[kind])


def test_roles_alone_are_a_policy() -> None:
    policy = declared('roles = ["a > b"]')
    assert policy.expand_roles(Identity("x", roles=frozenset("a"))).roles == {"a", "b"}
    assert policy.rules_for_room("lobby", "/") == CLOSED


ROOM = '[[room]]\npattern = "team:{team}"\n'

MISTAKES = [
    # inside a rule: line and column of the character
    (ROOM + 'allow = "claim:rooms has "', "roomkey.toml:3:26: expected a value after 'has', such as team or \"red\""),
    (ROOM + 'allow = "gest"', "roomkey.toml:3:10: expected"),
    (ROOM + "  allow='role:a or gest' # why", "roomkey.toml:3:20: expected"),
    (ROOM + "\"allow\" = 'role:\\ gest'", "roomkey.toml:3:19: expected 'and'"),
    (ROOM + 'allow = "role:\\\\ gest"', "roomkey.toml:3:9: character 8 of the rule: expected 'and'"),
    ("# [[room]]\n" + ROOM + 'allow = "everyone"\n\n' + ROOM + 'allow = "x"', "roomkey.toml:8:10: expected"),
    ("[[ room ]] # x\nallow = 'x'\npattern = 'a'", "roomkey.toml:2:10: expected"),
    (ROOM + 'allow = ""', "roomkey.toml:3:10: expected"),
    (
        '[[event]]\nname = "e"\nallow = "granted"',
        "roomkey.toml:3:10: 'granted' is about rooms; it is not valid for an event",
    ),
    # inside a rule whose characters do not stand as they are: line, and the character of the rule
    (ROOM + 'allow = "claim:a is \\"b\\" gest"', "roomkey.toml:3:9: character 16 of the rule: expected 'and'"),
    (ROOM + 'allow = "\\u0067est"', "roomkey.toml:3:10: expected"),
    (ROOM + 'allow = """\nrole:a\nor gest"""', "roomkey.toml:3:9: character 11 of the rule: expected"),
    (ROOM + 'allow = "role:\\\\("', "roomkey.toml:3:9: character 7 of the rule: expected 'and'"),
    (ROOM + 'allow = """gest"""', "roomkey.toml:3:9: character 1 of the rule: expected"),
    # keys
    (ROOM + 'alow = "everyone"', "roomkey.toml:3:1: [[room]] has no key 'alow'; did you mean allow?"),
    (
        ROOM + 'allow = "everyone"\n  max_auth_age = 5',
        "roomkey.toml:4:3: [[room]] has no key 'max_auth_age'; its keys are pattern, ",
    ),
    ('[[event]]\nname = "e"\nallow = "everyone"\nevent.x = 1', "roomkey.toml:4:1: [[event]] has no key 'event'"),
    ("port = 1\n\n" + ROOM, "roomkey.toml:3:1: [[room]] requires allow"),
    ('[[event]]\nallow = "everyone"', "roomkey.toml:1:1: [[event]] requires name"),
    # values
    (ROOM + "allow = true", "roomkey.toml:3:9: allow must be a rule"),
    (ROOM + 'allow = ["everyone"]', "roomkey.toml:3:9: allow must be a rule"),
    (ROOM + 'allow = "everyone"\nnamespace = "chat"', "roomkey.toml:4:13: namespace must be a namespace, such as"),
    ('[[emit]]\npattern = "a"\nallow = "everyone"\nevent = ""', "roomkey.toml:4:9: event must be the name of an event"),
    ('[[room]]\npattern = 5\nallow = "everyone"', "roomkey.toml:2:11: pattern must be the pattern of rooms"),
    ('[[room]]\npattern = "team "\nallow = "everyone"', "roomkey.toml:2:11: pattern must be the pattern of rooms"),
    (
        '[[room]]\npattern = "{a}{b}"\nallow = "everyone"',
        "roomkey.toml:2:11: room pattern '{a}{b}': two fields have no separator",
    ),
    ('[[room]]\npattern = "user:{sub}"\nallow = "everyone"', "roomkey.toml:2:11: a field named 'sub' conflicts"),
    (
        '[[namespace]]\nname = "admin"\nallow = "everyone"',
        "roomkey.toml:2:8: invalid namespace 'admin'",
    ),
    ('[[event]]\nname = "e"\nallow = "everyone"\n' * 2, "roomkey.toml:5:8: event e already has a rule"),
    *(
        (
            f'[[event]]\nname = "e"\nallow = "everyone"\nmax_auth_age = {value}',
            "roomkey.toml:4:16: max_auth_age must be a number of seconds",
        )
        for value in ("true", '"300"', "0", "-1", "inf", "nan", "[5]")
    ),
    # roles
    ('roles = ["admin"]', "roomkey.toml:1:9: invalid roles"),
    (
        'port = 1\nroles = ["a > b",\n"b > a"]\n' + ROOM + 'allow = "everyone"',
        "roomkey.toml:2:9: role 'a' would include",
    ),
    ('roles = "a > b"', "roomkey.toml:1:9: roles must be a list"),
    ("roles = 5", "roomkey.toml:1:9: roles must be a list"),
    # the shape of the document
    ('port = 1\n[room]\npattern = "a"', "roomkey.toml:2:1: write [[room]], once for every rule"),
    ("room = 5", "roomkey.toml:1:1: write [[room]], once for every rule"),
    ("room = [5]", "roomkey.toml:1:1: write [[room]], once for every rule"),
    ('room = [{pattern = "a"}]', "roomkey.toml: [[room]] number 1: [[room]] requires allow"),
    ('room = [{pattern = "a", allow = "x"}]', "roomkey.toml: [[room]] number 1: character 1 of the rule: expected"),
]


@pytest.mark.parametrize(("source", "said"), MISTAKES, ids=range(len(MISTAKES)))
def test_error_names_line_and_column(source: str, said: str) -> None:
    assert mistake(source).startswith(said)


def test_header_inside_a_string_is_not_a_header() -> None:
    source = f'issuer = """\n[[room]]\n"""\n{ROOM}allow = "gest"'
    assert mistake(source).startswith("roomkey.toml: [[room]] number 1: character 1 of the rule: expected")


@given(
    st.lists(st.sampled_from(["", "# a", "port = 1"]), max_size=1),
    st.integers(0, 3),
    st.sampled_from([" ", "", "\t"]),
    st.sampled_from(["everyone or ", "claim:ä is 1 and ", ""]),
    st.sampled_from(["\n", "\r\n"]),
)
def test_error_column_points_at_the_mistake(above: list[str], before: int, space: str, rule: str, end: str) -> None:
    good = ["[[room]]", 'pattern = "a"', 'allow = "everyone"', ""]
    lines = [*above, *good * before, "[[room]]", 'pattern = "b"', f'{space}allow{space}={space}"{rule}WRONG"']
    source = end.join(lines)
    file, line, column, *_ = mistake(source).split(":")
    assert file == "roomkey.toml"
    assert source.split("\n")[int(line) - 1][int(column) - 1 :].startswith("WRONG")


def test_example_of_the_documentation_works() -> None:
    page = Path(__file__).parents[2] / "docs" / "policy.md"
    source = page.read_text("utf-8").partition("```toml\n")[2].partition("```")[0]
    policy = declared(source)
    assert decided(policy.rules_for_room("team:red", "/"))
    assert not decided(policy.rules_for_room("attic", "/"))
    wrong = mistake(source.replace("role:moderator or claim:rooms has team or scope:rooms:write", "claim:rooms has "))
    assert f"`{wrong}`" in page.read_text("utf-8")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_policy_is_read_from_the_settings_file(folder: Path) -> None:
    assert load_policy() is None
    (folder / "roomkey.toml").write_text(DOCUMENT)
    (folder / "other.toml").write_text('port = 5\n[[room]]\npattern = "a"\nallow = "gest"')
    policy = load_policy()
    assert policy is not None
    assert decided(policy.rules_for_room("team:red", "/"))
    with pytest.raises(ConfigError, match=r"other\.toml:4:10: "):
        load_policy(read_config(folder / "other.toml"))
    with pytest.raises(ConfigError, match="cannot read"):
        load_policy(read_config(folder / "absent.toml"))


def test_rules_are_not_settings(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "roomkey.toml").write_text(DOCUMENT)
    monkeypatch.setenv("ROOMKEY_ROLES", "a > b")
    settings = load_settings()
    assert settings.port == 8080
    assert not {"roles", "room", "emit", "presence", "event", "namespace"} & set(Settings.model_fields)
    (folder / "roomkey.toml").write_text("[[rooms]]\n")
    with pytest.raises(ConfigError, match="unknown key 'rooms'; did you mean room"):
        load_settings()


@pytest.mark.parametrize("engine", ["hub", "python-socketio"])
def test_backend_uses_the_policy_or_the_rooms_of_tokens(engine: Any) -> None:
    settings, verifier = Settings(engine=engine), Verifier.hs256("kT9vX2mQ8rL4wZ7yB1nC6dF3gH5jP0sA")
    policy = declared(DOCUMENT)
    if engine == "python-socketio":
        with pytest.raises(ConfigError, match=r"\[\[presence\]\] requires the hub"):
            make_backend(settings, verifier, policy)
        policy = declared(DOCUMENT.replace("[[presence]]", "[[emit]]"))
    assert make_backend(settings, verifier, policy).guard.policy is policy
    usual = make_backend(settings, verifier).guard.policy
    assert decided(usual.rules_for_room("red", "/"))
    assert not decided(usual.rules_for_room("blue", "/"))


@pytest.mark.parametrize(("kind", "is_served"), [("presence", True), ("room", False)])
def test_backend_serves_members_if_there_is_a_rule(kind: str, is_served: bool) -> None:
    policy = declared(f'[[{kind}]]\npattern = "*"\nallow = "everyone"')
    backend = make_backend(Settings(), Verifier.hs256("kT9vX2mQ8rL4wZ7yB1nC6dF3gH5jP0sA"), policy)
    assert backend.guard.handles("room-members") is is_served


@pytest.mark.parametrize("name", ["connect", "disconnect", "authenticate"])
def test_declared_rule_for_an_unreachable_event_names_its_line(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"roomkey\.toml:2:8: a rule for the event '{name}' has no effect"):
        declared(f'[[event]]\nname = "{name}"\nallow = "nobody"')
