"""The table of fields: it covers every decoding setting, shows the model's own values, and describes the decoding."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.config import SamplingSettings
from unrolled.serving.settings import WebSettings
from unrolled.web.pages.form_fields import (
    SAMPLING_STYLES,
    escaped,
    field_names,
    lines_of,
    plain_number,
    shown_values,
    wording,
)
from unrolled.web.pages.form_reading import read_fields

SETTINGS = WebSettings()


def as_sent(values):
    return {name: [value] for name, value in values.items()}


def test_every_decoding_setting_has_a_field_but_the_number_of_samples():
    assert set(field_names(SETTINGS)) == set(SamplingSettings.model_fields) - {"n"}


def test_what_the_fields_start_with_is_read_back_as_the_models_own_settings():
    own = SamplingSettings(
        max_tokens=40, min_tokens=3, temperature=0.75, top_k=5, top_p=0.9, min_p=0.125, typical_p=0.5,
        repetition_penalty=1.25, repetition_window=0, presence_penalty=-0.5, frequency_penalty=2,
        stop=("\n\n", "a\\b", "\t"), unknown_token="allowed",
    )  # fmt: skip
    asked = read_fields(as_sent(shown_values(own, SETTINGS)), SETTINGS, ["a"])
    assert SamplingSettings(**asked.sampling) == own


def test_a_models_own_settings_beyond_the_pages_range_come_inside():
    own = SamplingSettings(max_tokens=100_000, temperature=50, top_k=10**6, repetition_penalty=0.01)
    values = shown_values(own, SETTINGS)
    assert [values[name] for name in ("max_tokens", "temperature", "top_k", "repetition_penalty")] == [
        *("2000", "5", "10000", "0.01")
    ]
    read_fields(as_sent(values), SETTINGS, ["a"])


def test_the_line_under_a_text_names_what_is_on_and_nothing_that_is_off():
    assert wording(SamplingSettings(max_tokens=7), SETTINGS) == "length 7, temperature 0.8"
    told = wording(SamplingSettings(top_k=3, typical_p=0.5, stop="a\nb", unknown_token="allowed", seed=5), SETTINGS)
    assert told == ("length 400, temperature 0.8, top k 3, typical p 0.5, stop at “a\\nb”, mark for unknown allowed")


@given(st.text(min_size=1))
def test_any_text_stands_on_one_line_and_is_read_back(text):
    assert lines_of(escaped(text)) == [text]


@pytest.mark.parametrize("style", SAMPLING_STYLES, ids=lambda style: style.name)
def test_every_sampling_style_is_a_valid_form(style):
    sent = {name: plain_number(value) for name, value in style.values.items()}
    assert read_fields(as_sent(sent), SETTINGS, ["a"]).sampling == style.values


def test_sampling_styles_go_from_careful_to_daring():
    assert [style.name for style in SAMPLING_STYLES] == ["safe", "balanced", "wild"]
    temperatures = [style.values["temperature"] for style in SAMPLING_STYLES]
    assert temperatures == sorted(set(temperatures))
