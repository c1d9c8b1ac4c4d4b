"""The JSON reader agrees with Python's own wherever that is strict, and raises one exception for all the rest."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.strict_json import MAX_DEPTH, JsonProblem, is_unicode, lenient_number, parse_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=40,
)


@given(VALUES)
def test_what_json_writes_is_read_back(value):
    text = json.dumps(value)
    assert parse_json(text) == value
    assert parse_json(text.encode()) == value


@given(st.binary(max_size=200) | st.text(alphabet='[]{}",:\\ \n0123456789eE+-.NaIfinty', max_size=200))
def test_any_input_is_a_value_or_a_json_problem(content):
    try:
        value = parse_json(content)
    except JsonProblem:
        return
    json.dumps(value, allow_nan=False)


@pytest.mark.parametrize(
    ("content", "clause"),
    [
        ("", "is not JSON .line 1, column 1"),
        ('{"a": 1', "is not JSON"),
        (b'"\xff"', "not UTF-8"),
        ("NaN", "NaN"),
        ("[-Infinity]", "-Infinity"),
        ("1e999", "too large .1e999"),
        ("1" * 5000, "thousands of digits"),
        ("[" * 100_000, "nested more than 64 levels"),
        ('{"a":' * 100_000, "nested more than 64 levels"),
        ("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), "nested more than 64 levels"),
    ],
)
def test_what_is_not_strict_json_is_named(content, clause):
    with pytest.raises(JsonProblem, match=clause):
        parse_json(content)


def test_nesting_up_to_the_bound_is_read():
    assert json.dumps(parse_json("[" * MAX_DEPTH + "]" * MAX_DEPTH)) == "[" * MAX_DEPTH + "]" * MAX_DEPTH


def test_brackets_in_strings_are_not_nesting():
    value = ["[" * 200, '"[' * 200, "\\" * 3 + "{" * 200, {"[" * 100: "]"}] * 20
    assert parse_json(json.dumps(value)) == value


def test_an_open_string_of_escaped_quotes_takes_linear_time():
    """A search that restarts at each quotation mark would take hours for this text."""
    with pytest.raises(JsonProblem):
        parse_json("[" * 65 + '"' + '\\"[' * 300_000 + "\\")


def test_hooks_see_pairs_and_the_texts_of_numbers():
    assert parse_json('{"a": 1, "a": [2.50, NaN]}', pairs_hook=list, number_hook=str) == [
        ("a", "1"),
        ("a", ["2.50", "NaN"]),
    ]


def test_a_byte_order_mark_is_passed_over():
    assert parse_json(b"\xef\xbb\xbf[1]") == [1]


@given(VALUES)
def test_lenient_numbers_are_those_of_python(value):
    assert parse_json(json.dumps(value), number_hook=lenient_number) == value


def test_lenient_numbers_may_be_infinite_or_not_a_number():
    values = parse_json("[NaN, Infinity, -Infinity, 1e999, -0, -0.0]", number_hook=lenient_number)
    assert repr(values) == repr(json.loads("[NaN, Infinity, -Infinity, 1e999, -0, -0.0]"))
    with pytest.raises(JsonProblem, match="thousands of digits"):
        parse_json("1" * 5000, number_hook=lenient_number)


def test_half_a_surrogate_pair_is_not_unicode():
    assert is_unicode(json.loads('"\\ud83d\\ude00 a"'))
    assert not is_unicode(json.loads('"a\\ud83d"'))
