"""JSON that all parsers read in the same way."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomkey.core import strict_json

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner), max_leaves=20)


@given(VALUES, st.booleans(), st.sampled_from([None, 2]))
def test_loads_reads_valid_documents(value, ascii_only, indent):
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    assert strict_json.loads(text) == json.loads(text)
    assert strict_json.loads(f" \t\r\n{text}\n ".encode()) == json.loads(text)


@given(VALUES)
def test_what_is_written_is_read_back(value):
    assert strict_json.loads(strict_json.dumps(value)) == value
    assert json.loads(strict_json.dumps(value)) == value


def test_tokens_share_the_names_of_their_claims():
    (one,), (other,) = (strict_json.loads('{"sub": "ada"}') for _ in range(2))
    assert one is other


@given(st.text() | st.binary() | st.text('{}[]":,0123456789.eE+-\\u dDnulltrefsaNI'))
def test_loads_is_stricter_than_json_and_raises_only_value_errors(text):
    try:
        value = strict_json.loads(text)
    except ValueError:
        return
    assert json.loads(text) == value


@given(VALUES, TEXTS, VALUES)
def test_duplicate_members_are_rejected(first, name, second):
    pair = f"{{{json.dumps(name)}:{json.dumps(first)},{json.dumps(name)}:{json.dumps(second)}}}"
    for document in (pair, f"[{pair}]", f'{{"a":{{"b":[{pair}]}}}}'):
        with pytest.raises(ValueError, match="duplicate member"):
            strict_json.loads(document)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "NaN",
        "[NaN]",
        "Infinity",
        '{"a":-Infinity}',
        "1e400",
        "-1e400",
        "[1.5e309]",
        "01",
        "+1",
        ".5",
        "1.",
        "0x1",
        "'a'",
        "{a:1}",
        "[1,]",
        '{"a":1,}',
        "[1] 2",
        "[1]\0",
        "[1]\u00a0",
        "\ufeff[1]",
        b"\xef\xbb\xbf[1]",
        b"\xff",
        b'"\xed\xa0\x80"',
        '"\ud800"',
        '"\\ud800"',
        '"\\uDBFFx"',
        '"\\udc00\\ud800"',
        '{"\\ud800":1}',
        '"\n"',
        '"\\x41"',
        "9" * 5000,
        "[" * 100_000,
        '{"a":' * 100_000,
    ],
)
def test_loads_rejects_invalid_documents(text):
    with pytest.raises(ValueError):
        strict_json.loads(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('"\\ud83d\\ude00"', "😀"),
        ('"\\\\ud800"', "\\ud800"),
        ('"\\u0000\\u2028"', "\0\u2028"),
        ("1e308", 1e308),
        ("-0.0", -0.0),
        ("\t[ ]\n", []),
        ('{"a":{"b":1},"b":{"a":1}}', {"a": {"b": 1}, "b": {"a": 1}}),
        ('{"__proto__":1}', {"__proto__": 1}),
    ],
)
def test_loads_accepts_edge_cases(text, value):
    assert strict_json.loads(text) == value


def nested(depth: int, opening: str = "[", closing: str = "]") -> str:
    return opening * depth + "1" + closing * depth


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}"), ('[{"[[":', "}]")])
def test_portable_nesting_ends_at_32_levels_whatever_the_stack(opening, closing):
    levels = opening.replace('"[["', "").count("[") + opening.count("{")
    fits, too_deep = 32 // levels, 32 // levels + 1
    for document in (
        nested(fits, opening, closing),
        "[" * 32 + '"[[[[{{{{\\"[["' + "]" * 32,
        f"[{nested(31)},{nested(31)}]",
    ):
        assert strict_json.loads(document, portable=True) == json.loads(document)
    for document in (
        nested(too_deep, opening, closing),
        f"[{nested(32)}]",
        "[" * 100_000,
        f"[{nested(31)},{nested(32)}]",
    ):
        with pytest.raises(ValueError, match="nested too deep"):
            strict_json.loads(document, portable=True)
    assert at_depth(600, lambda: strict_json.loads(nested(32), portable=True)) == json.loads(nested(32))


def at_depth(frames: int, call):
    return at_depth(frames - 1, call) if frames else call()


@pytest.mark.parametrize("number", ["9007199254740991", "-9007199254740991", "0", "-0", "1e16", "9007199254740993.0"])
def test_portable_numbers(number):
    assert strict_json.loads(number, portable=True) == json.loads(number)


@pytest.mark.parametrize(
    "number", ["9007199254740992", "-9007199254740992", "1" + "0" * 5000, "-" + "9" * 17, "9" * 17]
)
def test_portable_integers_that_javascript_rounds_are_refused(number):
    for document in (number, f'{{"a":[{number}]}}'):
        with pytest.raises(ValueError, match="integer out of range"):
            strict_json.loads(document, portable=True)


@pytest.mark.parametrize("value", [float("nan"), [float("inf")], {"a": -float("inf")}])
def test_numbers_that_are_not_json_are_not_written(value):
    with pytest.raises(ValueError):
        strict_json.dumps(value)


def test_dumps_rejects_values_without_a_json_form():
    loop: list[object] = []
    loop.append(loop)
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    for value in (loop, deep):
        with pytest.raises(ValueError):
            strict_json.dumps(value)
    with pytest.raises(TypeError):
        strict_json.dumps(object())


def test_dumps_accepts_separators():
    assert strict_json.dumps({"a": [1, 2]}) == '{"a":[1,2]}'
    assert strict_json.dumps({"a": [1, 2]}, separators=(", ", ": ")) == '{"a": [1, 2]}'
