"""Reading the form: what is accepted, what is refused with which message, and that no input crashes it."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.errors import UserError
from unrolled.serving.settings import WebSettings
from unrolled.text.unicode import well_formed
from unrolled.web.pages.form_fields import field_names, number_fields, plain_number
from unrolled.web.pages.form_reading import FormProblems, NumberText, json_fields, read_fields

SETTINGS = WebSettings()
IDS = ["stories", "fresh"]
NUMBERS = [field.name for field in number_fields(SETTINGS)]

NOT_NUMBERS = ["nan", "inf", "-inf", "Infinity", "1e999", "-1e999", "9" * 24, "9" * 5000, "-102", "abc", "1,5", "0x10"]
NOT_NUMBERS += ["1_0", "٣", "1 2"]


def read(**values):
    return read_fields({name: [value] for name, value in values.items()}, SETTINGS, IDS)


def problems(**values):
    with pytest.raises(FormProblems) as caught:
        read(**values)
    return caught.value.fields


def test_an_empty_form_leaves_every_setting_to_the_model():
    asked = read()
    assert (asked.model_id, asked.prompt, asked.sampling, asked.seed) == ("stories", "", {}, None)
    assert asked == read(**dict.fromkeys(["model", "prompt", "unknown_token", *NUMBERS], ""))
    assert asked == read(**dict.fromkeys(NUMBERS, "  "))


def test_numbers_are_read_with_their_type_and_zero_is_not_a_default():
    asked = read(temperature="0", top_k=" 7 ", top_p="5e-1", seed="0", min_p=".25", repetition_window="0")
    assert asked.seed == 0
    assert asked.sampling == {"temperature": 0.0, "top_k": 7, "top_p": 0.5, "min_p": 0.25, "repetition_window": 0}
    assert isinstance(asked.sampling["top_k"], int)


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize(
    "value",
    [*NOT_NUMBERS, [], {}, True, False, [1], {"a": 1}, NumberText("NaN"), NumberText("1e999"), "\x00", "\ud800"],
)
def test_a_bad_number_is_refused_under_its_fields_name(name, value):
    found = problems(**{name: value})
    assert list(found) == [name]
    assert "must be a" in found[name]
    assert len(found[name]) < 200
    found[name].encode("utf-8")


@pytest.mark.parametrize("field", number_fields(SETTINGS), ids=NUMBERS)
def test_both_ends_of_a_range_are_inside_and_the_next_number_is_not(field):
    for end in (field.low, field.high):
        asked = read(**{field.name: plain_number(end)})
        assert (asked.seed if field.name == "seed" else asked.sampling[field.name]) == end
    below, above = (
        (field.low - 1, field.high + 1)
        if field.whole
        else (math.nextafter(field.low, -math.inf), math.nextafter(field.high, math.inf))
    )
    assert list(problems(**{field.name: f"{below!r}"})) == [field.name]
    assert list(problems(**{field.name: f"{above!r}"})) == [field.name]


def test_all_problems_are_reported_at_once_each_under_its_name():
    found = problems(temperature="hot", top_p="2", model="nobody", prompt="x" * 10_001)
    assert set(found) == {"temperature", "top_p", "model", "prompt"}
    assert "from 0 to 5" in found["temperature"]
    assert "hot" in found["temperature"]
    assert "10,001" in found["prompt"]
    assert "stories, fresh" in found["model"]


def test_a_field_sent_twice_and_a_field_that_does_not_exist_are_named():
    values = {"seed": ["1", "2"], "colour": ["red"], "prompt": ["x"]}
    with pytest.raises(FormProblems) as caught:
        read_fields(values, SETTINGS, IDS)
    assert set(caught.value.fields) == {"seed", "colour"}
    assert "2 times" in caught.value.fields["seed"]
    assert "temperature" in caught.value.fields["colour"]


def test_the_line_ends_of_a_form_become_those_of_a_text():
    assert read(prompt="a\r\nb\rc\nd\n\r\n").prompt == "a\nb\nc\nd\n\n"
    assert read(prompt="\r\n" * 10_000).prompt == "\n" * 10_000


def test_a_prompt_is_text_and_keeps_everything_but_lone_surrogates():
    assert read(prompt="\x00 é 漢 \U0001f40e").prompt == "\x00 é 漢 \U0001f40e"
    assert read(prompt="a\ud800b\udc00c").prompt == "a\ufffdb\ufffdc"
    assert read(prompt="\ud83d\udc0e").prompt == "\U0001f40e"
    for value in (NumberText("5"), 5, ["a"], {"a": 1}, True):
        assert list(problems(prompt=value)) == ["prompt"]


def test_stop_texts_stand_one_a_line_in_a_form_and_as_they_are_in_a_list():
    assert read(stop="The end\r\n\r\n\\n\\n\nsaid \\\\").sampling == {"stop": ("The end", "\n\n", "said \\")}
    assert read(stop=["a\nb", "\\n", "\ud800"]).sampling == {"stop": ("a\nb", "\\n", "\ufffd")}
    assert read(stop="").sampling == read(stop=[]).sampling == {"stop": ()}


@pytest.mark.parametrize("value", [NumberText("5"), 5, [5], [""], [NumberText("5")], {"a": 1}, True, [["a"]]])
def test_stop_texts_that_are_none_are_refused(value):
    assert list(problems(stop=value)) == ["stop"]


def test_too_many_and_too_long_stop_texts_are_refused_with_the_limit():
    assert "at most 16" in problems(stop="\n".join("a" * 17))["stop"]
    assert "200 characters" in problems(stop="a" * 201)["stop"]
    assert read(stop=["a" * 200] * 16).sampling["stop"] == ("a" * 200,) * 16


@pytest.mark.parametrize("value", ["yes", "Banned", NumberText("1"), 1, [], True])
def test_the_mark_for_unknown_is_banned_or_allowed_and_nothing_else(value):
    assert read(unknown_token="allowed").sampling == {"unknown_token": "allowed"}
    assert "banned or allowed" in problems(unknown_token=value)["unknown_token"]


@given(st.text())
def test_well_formed_text_can_be_encoded_and_good_text_is_unchanged(text):
    assert well_formed(text) == text
    broken = text + "\udfff"
    well_formed(broken).encode("utf-8")


@given(
    st.dictionaries(
        st.sampled_from(["model", "prompt", *field_names(SETTINGS), "other"]),
        st.lists(
            st.one_of(
                st.none(),
                st.booleans(),
                st.text(st.characters(), max_size=30),
                st.floats().map(repr),
                st.integers().map(str),
                st.text("0123456789.eE+-naif", max_size=12),
                st.from_regex(r"[+-]?[0-9]{1,6}(\.[0-9]{1,6})?(e[+-]?[0-9]{1,5})?", fullmatch=True).map(NumberText),
                st.lists(st.integers(), max_size=2),
            ),
            min_size=1,
            max_size=2,
        ),
    )
)
def test_whatever_is_sent_is_either_in_range_or_refused(values):
    try:
        asked = read_fields(values, SETTINGS, IDS)
    except FormProblems as error:
        refused = error
    else:
        refused = None
    if refused is not None:
        assert set(refused.fields) <= set(values)
        str(refused).encode("utf-8")
        return
    for field in number_fields(SETTINGS):
        number = asked.seed if field.name == "seed" else asked.sampling.get(field.name)
        assert number is None or (math.isfinite(number) and field.low <= number <= field.high)


def test_json_numbers_stay_text_and_a_name_sent_twice_is_seen():
    fields = json_fields(
        b'{"seed": 1, "seed": 2, "temperature": 1e999, "top_p": NaN, "prompt": "\\ud800", "model": null}'
    )
    assert fields["seed"] == ["1", "2"]
    assert fields["temperature"] == ["1e999"]
    assert fields["top_p"] == ["NaN"]
    assert isinstance(fields["top_p"][0], NumberText)
    assert fields["model"] == [None]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"3", b'"a"', b"null", b"[" * 100_000, b"\xff\xfe", b'[{"a": 1}]'])
def test_a_body_that_is_no_json_object_is_a_user_error(body):
    with pytest.raises(UserError, match="JSON"):
        json_fields(body)


@given(st.dictionaries(st.text(), st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists)))
def test_any_json_object_is_read_without_a_crash(value):
    assert set(json_fields(json.dumps(value).encode())) == set(value)
