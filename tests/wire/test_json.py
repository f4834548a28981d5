"""JSON in packets: strict in both directions, and with bytes as attachments."""

from __future__ import annotations

import dataclasses
import datetime
import json as standard
import math
import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from wire.values import NAMES, PLAIN, SCALARS, THOROUGH, WITH_BYTES, nested, same

from roomkey.wire import json

DEEP = 100


def loads(text: str | bytes, nesting: int = DEEP) -> Any:
    return json.loads(text.encode() if isinstance(text, str) else text, nesting)


@given(PLAIN, st.booleans(), st.sampled_from([None, 2]))
@THOROUGH
def test_loads_reads_valid_json_like_the_standard_library(value, ascii_only, indent):
    text = standard.dumps(value, ensure_ascii=ascii_only, indent=indent)
    assert same(loads(text), standard.loads(text))


def integer(digits: str) -> int | float:
    """Larger integers are floats, as in JavaScript."""
    return int(digits) if -(2**63) <= int(digits) < 2**64 else float(digits)


@given(st.text() | st.text('{}[]":,0123456789.eE+-\\u dDnulltrefsaNI'))
@THOROUGH
def test_loads_accepts_only_what_the_standard_library_accepts(text):
    try:
        value = json.loads(text.encode("utf-8", "surrogatepass"), DEEP)
    except ValueError:
        return
    assert standard.loads(text, parse_int=integer) == value


@pytest.mark.checklist("E63")
@pytest.mark.parametrize(
    "text",
    ["", " ", "nul", "[1,]", "[1 2]", '{"a":1,}', "{a:1}", "'a'", "[1] 2", "01", "+1", ".5", "1.", "0x1", "\ufeff1"],
)
def test_invalid_json_is_rejected(text):
    with pytest.raises(ValueError):
        loads(text)


@pytest.mark.checklist("E63")
@pytest.mark.parametrize("end", range(1, 24))
def test_truncated_json_is_rejected(end):
    text = '["a",{"b":[1,null,"c"]}]'
    assert loads(text) == ["a", {"b": [1, None, "c"]}]
    with pytest.raises(ValueError):
        loads(text[:end])


@pytest.mark.checklist("E79")
@pytest.mark.parametrize(
    "number", ["NaN", "-NaN", "nan", "Infinity", "-Infinity", "inf", "1e400", "-1e400", "1.8e308", "1" + "0" * 309]
)
@pytest.mark.parametrize("within", ["%s", "[%s]", '{"a":[%s]}'])
def test_nan_and_infinity_are_rejected(number, within):
    with pytest.raises(ValueError):
        loads(within % number)


@pytest.mark.checklist("E79")
def test_largest_number_is_read():
    assert loads("1.7976931348623157e308") == 1.7976931348623157e308


@pytest.mark.checklist("E79")
@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    "within",
    [
        lambda number: number,
        lambda number: [number],
        lambda number: (number,),
        lambda number: {"a": [None, (number,)]},
        lambda number: ["null", None, {"a": number}],
        lambda number: [b"bytes", number],
        lambda number: {number: 1},
        lambda number: [{"a": b"bytes", number: 1}],
    ],
    ids=[
        "alone",
        "in a list",
        "in a tuple",
        "deep",
        "beside null",
        "beside bytes",
        "as a key",
        "as a key beside bytes",
    ],
)
def test_nan_and_infinity_are_not_written(number, within):
    with pytest.raises(ValueError, match="not JSON"):
        json.dumps(within(number))


@pytest.mark.checklist("E79")
@given(nested(SCALARS | st.floats() | st.binary(max_size=4)))
@THOROUGH
def test_numbers_are_never_written_as_null(value):
    try:
        text, attachments = json.dumps(value)
    except ValueError:
        assert "nan" in repr(value) or "inf" in repr(value)
    else:
        assert same(json.restore_attachments(loads(text), list(attachments)), value)


@pytest.mark.checklist("E79")
@pytest.mark.parametrize("value", [None, "null", [None, "null"], {"null": None}, {None: 1}, [b"null", None]])
def test_null_is_written(value):
    assert b"null" in json.dumps(value)[0] + b"".join(json.dumps(value)[1])


LONE = [
    (r'"\ud800"', "\ufffd"),
    (r'"\udc00"', "\ufffd"),
    (r'"party \ud83c"', "party \ufffd"),
    (r'"\uD83CX\uDFFF"', "\ufffdX\ufffd"),
    (r'"\ud800\ud800"', "\ufffd\ufffd"),
    (r'"\udc00\ud800"', "\ufffd\ufffd"),
    (r'"\ud83d\ud83d\ude00\ude00"', "\ufffd😀\ufffd"),
    (r'"\\\ud83d\\ud83d\ude00\\\\\udc00"', "\\\ufffd\\ud83d\ufffd\\\\\ufffd"),
    (r'"\\ud83d\ud83d\"\u0041\ud83d"', '\\ud83d\ufffd"A\ufffd'),
    (r'{"\udfff":["\ud800"]}', {"\ufffd": ["\ufffd"]}),
]


@pytest.mark.checklist("E80")
@pytest.mark.parametrize(("text", "value"), LONE)
def test_unpaired_surrogate_is_read_as_the_replacement(text, value):
    """Half an emoji is valid content, and closes no connection."""
    assert same(loads(text), value)


@given(st.text(st.characters() | st.sampled_from('\ud83d\ude00\ud800\udfff\\"u')))
@THOROUGH
def test_unpaired_surrogates_are_replaced_one_by_one(text):
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # two adjacent halves are one character
    escaped = "".join(f"\\u{ord(c):04x}" if "\ud800" <= c <= "\udfff" else standard.dumps(c)[1:-1] for c in text)
    assert loads(f'["{escaped}"]') == [whole]


@pytest.mark.parametrize(
    "text", ['["\\ud800\0"]', '["\\ud800", NaN]', r'["\ud800"', r"[\ud800]", r'["\ud80"]', r'["\ud8zz"]']
)
def test_other_mistakes_next_to_a_surrogate_are_rejected(text):
    with pytest.raises(ValueError):
        loads(text)


@pytest.mark.checklist("E80")
@pytest.mark.parametrize("text", [b'"\xed\xa0\x80"', b'"\xff"', b'"\xc0\x80"', b'"\xf4\x90\x80\x80"', b'"\xe2\x82"'])
def test_invalid_utf8_is_rejected(text):
    with pytest.raises(ValueError):
        json.loads(text, DEEP)


@pytest.mark.checklist("E80")
@pytest.mark.parametrize(
    ("value", "text", "attachments"),
    [
        ("\ud800", '"\ufffd"', ()),
        (["a\udfff", ("\ud83d\ude00",)], '["a\ufffd",["\ufffd\ufffd"]]', ()),  # Python does not combine them
        ({"\ud800": {"x": None}, 1: 2}, '{"\ufffd":{"x":null},"1":2}', ()),
        (
            [b"one", "\ud800", b"two"],
            '[{"_placeholder":true,"num":0},"\ufffd",{"_placeholder":true,"num":1}]',
            (b"one", b"two"),
        ),
    ],
)
def test_unpaired_surrogate_is_written_as_the_replacement(value, text, attachments):
    """Receivers never get text that they cannot read."""
    assert json.dumps(value) == (text.encode(), attachments)


@pytest.mark.parametrize("wrong", [{1}, 2**64, math.nan], ids=repr)
def test_other_values_next_to_a_surrogate_are_rejected(wrong):
    with pytest.raises((TypeError, ValueError)):
        json.dumps(["\ud800", b"bytes", wrong])
    circle: list[Any] = ["\ud800"]
    circle.append(circle)
    with pytest.raises(TypeError):
        json.dumps(circle)


@pytest.mark.checklist("E80")
def test_surrogate_pair_is_one_character():
    assert loads(r'"\ud83d\ude00"') == "😀"


@pytest.mark.checklist("E80")
def test_line_separators_and_nul_are_kept():
    """JSON allows U+2028 unescaped, and NUL only as an escape."""
    assert loads(r'"\u2028\u2029\u0000"') == loads('"\u2028\u2029\\u0000"') == "\u2028\u2029\0"
    assert json.dumps("\u2028\0")[0] == '"\u2028\\u0000"'.encode()
    with pytest.raises(ValueError):
        loads('"\0"')


@pytest.mark.checklist("E81")
@pytest.mark.parametrize("name", ["__proto__", "constructor", "prototype", "toString", "hasOwnProperty", "__class__"])
def test_names_of_javascript_are_plain_keys(name):
    value = {name: {"polluted": True}, "plain": {name: [1]}}
    read = loads(standard.dumps(value))
    assert same(read, value)
    assert type(read) is dict
    assert not hasattr(read, "polluted")
    assert standard.loads(json.dumps(value)[0]) == value


def test_last_of_duplicate_members_counts():
    """As in JavaScript: sender and receiver see the same value."""
    assert loads('{"a":1,"a":2}') == {"a": 2}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("9007199254740993", 9007199254740993),
        ("18446744073709551615", 2**64 - 1),
        ("-9223372036854775808", -(2**63)),
        ("18446744073709551616", 18446744073709551616.0),
        ("-0", 0),
        ("-0.0", -0.0),
    ],
)
def test_integers_up_to_64_bits_are_exact_and_larger_ones_floats(text, value):
    assert same(loads(text), value)


@pytest.mark.checklist("E78")
@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_nesting_is_rejected_at_exactly_the_limit(opening):
    def nest(levels: int) -> str:
        return opening * levels + "1" + {"[": "]", "{": "}"}[opening[0]] * levels

    assert loads(nest(7), 7) is not None
    for levels in (8, 200, 1500, 100_000):
        with pytest.raises(ValueError):
            loads(nest(levels), 7)


@pytest.mark.checklist("E78")
@pytest.mark.parametrize("text", [r'["[[[[","{{{{"]', r'["\"[[[[[["]', r'["\\","[[[["]', r'[["\\\"[[[[[",[1],"\\\\"]]'])
def test_brackets_in_strings_are_not_levels(text):
    assert loads(text, 3) == standard.loads(text)


def depth(value: object) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth, inner), default=0)


@pytest.mark.checklist("E78")
@given(PLAIN, st.booleans())
@example([[], [[]], {"a": [[]]}], False)
@THOROUGH
def test_depth_is_counted_in_the_value(value, ascii_only):
    text = standard.dumps(value, ensure_ascii=ascii_only)
    # More brackets than levels, so that the depth is counted.
    flat, levels = f"[{text},[],[],[],[],[],[],[]]", max(depth(value) + 1, 2)
    assert loads(flat, levels)[0] == value
    with pytest.raises(ValueError, match="deep"):
        loads(flat, levels - 1)


@pytest.mark.checklist("E78")
@pytest.mark.parametrize(
    "text",
    [
        b"[" * 1_000_000,
        b'["' + b"\\u0041" * 166_000 + b'"]',
        b'["' + b"\\ud83d\\ude00" * 83_000 + b'"]',
        b'["' + b"\\ud83d" * 166_000 + b'"]',
        b'["' + b"\\\\\\ud83d" * 125_000 + b'"',
        b"[" + b",".join([b"1" * 4000] * 249) + b"]",
        b"[" + b",".join([b"1" + b"0" * 250] * 3900) + b"]",
        b"{" + b",".join(b'"%d":0' % number for number in range(100_000)) + b"}",
    ],
    ids=["brackets", "escapes", "surrogate pairs", "halves", "halves, cut", "long integers", "integers", "keys"],
)
def test_hostile_megabyte_is_rejected_quickly(text):
    """It takes at most 50 ms on a good machine; this limit only separates linear from quadratic time."""
    spent = []
    for _try in range(3):
        started = time.process_time()  # other processes do not count
        with suppress(ValueError):
            json.loads(text, DEEP)
        spent.append(time.process_time() - started)
    assert min(spent) < 0.25


@given(WITH_BYTES)
@THOROUGH
def test_what_is_written_is_read_back(value):
    text, attachments = json.dumps(value)
    assert same(json.restore_attachments(loads(text), list(attachments)), value)


def test_bytes_become_placeholders_in_their_order():
    """socket.io-protocol 5, Packet encoding: attachments are numbered in their order."""
    text, attachments = json.dumps([b"one", {"a": bytearray(b"two"), "b": [memoryview(b"three")]}, (b"",)])
    assert standard.loads(text) == [
        {"_placeholder": True, "num": 0},
        {"a": {"_placeholder": True, "num": 1}, "b": [{"_placeholder": True, "num": 2}]},
        [{"_placeholder": True, "num": 3}],
    ]
    assert attachments == (b"one", b"two", b"three", b"")
    assert {type(part) for part in attachments} == {bytes}


def test_repeated_value_is_two_attachments():
    part = b"once"
    assert json.dumps([part, part])[1] == (part, part)


def test_mutable_attachment_is_copied():
    part = bytearray(b"before")
    _, attachments = json.dumps([part])
    part[:] = b"after!"
    assert attachments == (b"before",)


@pytest.mark.parametrize("within", [[1], [b"bytes"]], ids=["alone", "beside bytes"])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({1, 2}, "a set is not JSON"),
        (1j, "a complex is not JSON"),
        (datetime.datetime(2026, 1, 1), "a datetime is not JSON"),
        (2**64, "64-bit"),
        (-(2**63) - 1, "64-bit"),
    ],
    ids=str,
)
def test_types_without_a_json_form_are_rejected(within, value, message):
    with pytest.raises(TypeError, match=message):
        json.dumps([*within, value])


def test_dataclass_is_rejected():
    @dataclasses.dataclass
    class Point:
        x: int

    with pytest.raises(TypeError, match="a Point is not JSON"):
        json.dumps([Point(1)])


def test_circular_value_is_rejected():
    circle: list[Any] = [b"bytes"]
    circle.append(circle)
    with pytest.raises(TypeError):
        json.dumps(circle)


def test_values_at_the_nesting_limit_can_be_written():
    text = b"[" * 250 + b"]" * 250
    assert json.dumps(json.loads(text, 250))[0] == text


@pytest.mark.parametrize("key", [1, 1.5, True, None])
@pytest.mark.parametrize("value", [b"bytes", 2], ids=["bytes", "plain"])
def test_numeric_key_is_written_as_text(key, value):
    """As in the standard library's ``json``."""
    assert list(standard.loads(json.dumps({key: value})[0])) == list(standard.loads(standard.dumps({key: 0})))


PLACEHOLDERS = [-1, "0", 1.5, 99, 1, True, False, None, [0], {}, 0.0, "x"]


@pytest.mark.checklist("E67")
@pytest.mark.parametrize("number", PLACEHOLDERS, ids=repr)
def test_placeholder_number_must_be_an_integer(number):
    with pytest.raises(ValueError, match="a placeholder without its attachment"):
        json.restore_attachments(["x", {"_placeholder": True, "num": number}], [b"data"])


@pytest.mark.checklist("E67")
def test_placeholder_without_a_number_is_rejected():
    with pytest.raises(ValueError, match="a placeholder without its attachment"):
        json.restore_attachments([{"_placeholder": True}], [b"data"])


@pytest.mark.checklist("E67")
def test_attachment_is_used_once():
    twice = [{"_placeholder": True, "num": 0}, {"a": {"_placeholder": True, "num": 0}}]
    with pytest.raises(ValueError, match="a placeholder without its attachment"):
        json.restore_attachments(twice, [b"data", b"more"])


@pytest.mark.checklist("E67")
@pytest.mark.parametrize("marker", [False, None, 1, "true", [True]], ids=repr)
def test_placeholder_must_be_true(marker):
    with pytest.raises(ValueError, match="an attachment without its placeholder"):
        json.restore_attachments([{"_placeholder": marker, "num": 0}], [b"data"])


@pytest.mark.checklist("E67")
def test_attachments_are_found_in_any_order():
    value = [{"_placeholder": True, "num": 1}, {"a": [{"num": 0, "_placeholder": True, "more": 1}]}]
    assert json.restore_attachments(value, [b"first", b"second"]) == [b"second", {"a": [b"first"]}]


@pytest.mark.checklist("E67")
@pytest.mark.parametrize("number", [0, 99, "x"])
@pytest.mark.parametrize("bytes_first", [True, False])
def test_invented_placeholder_is_not_sent_with_bytes(number, bytes_first):
    """It would name a wrong or missing attachment, for which JavaScript clients close the connection."""
    made_up = {"text": "hello", "_placeholder": True, "num": number}
    with pytest.raises(ValueError, match="a placeholder without bytes"):
        json.dumps(["x", b"bytes", made_up] if bytes_first else ["x", made_up, b"bytes"])
    # Without bytes it is plain data, which is never replaced.
    assert standard.loads(json.dumps(["x", made_up])[0]) == ["x", made_up]


LOOKALIKES = nested(
    st.binary(max_size=3)
    | st.fixed_dictionaries({"_placeholder": st.booleans() | st.integers(0, 1), "num": st.integers(0, 2)})
    | st.sampled_from(['"_placeholder":true', ',"_placeholder":true', '{"_placeholder":true}'])
    | st.dictionaries(NAMES | st.sampled_from(['x"_placeholder', 'x,"_placeholder', "\\"]), st.just(True), max_size=2)
)


def made_up(value: object) -> bool:
    if isinstance(value, dict):
        return value.get("_placeholder") is True or any(map(made_up, value.values()))
    return isinstance(value, list) and any(map(made_up, value))


@pytest.mark.checklist("E67")
@given(st.lists(LOOKALIKES, min_size=1, max_size=4))
@example([b"", {'x"_placeholder': True, 'x,"_placeholder': True}])
@THOROUGH
def test_values_with_bytes_survive_a_round_trip_or_are_rejected(value):
    try:
        text, attachments = json.dumps(value)
    except ValueError:
        assert made_up(value)
        return
    if attachments:
        assert same(json.restore_attachments(loads(text), list(attachments)), value)
    else:
        assert same(loads(text), value)
