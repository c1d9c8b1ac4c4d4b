"""`SamplingSettings` is the only list of sampling settings: no place lacks one, and a new one would be noticed."""

from __future__ import annotations

import click
import numpy as np
import pytest
from pydantic import Field

from tests.decoding.random_models import random_weights
from unrolled.cli.generate import command
from unrolled.cli.sampling_options import sampling_options
from unrolled.config import SamplingSettings
from unrolled.decoding import NativeDecoder, NumpyDecoder
from unrolled.native import native_library
from unrolled.sampling import generate, native_batch, processors
from unrolled.serving.settings import WebSettings
from unrolled.text.characters import CharacterTokenizer
from unrolled.web.api import schemas
from unrolled.web.pages.form_fields import NOT_ON_THE_PAGE, field_names, number_fields, wording

LETTERS = CharacterTokenizer.from_characters("abcdefgh\n ")
NEEDS_NATIVE = pytest.mark.skipif(native_library() is None, reason="unrolled was installed without a C compiler")
NOT_SETTINGS = {"run", "prompt", "decoding", "raw", "as_json"}  # of `unrolled generate`
# for each setting, a value that changes the text, with other settings that it needs
EFFECTS = {
    "max_tokens": (7, {}),
    "min_tokens": (30, {"stop": ("a", "b", "c", "d")}),
    "temperature": (0.2, {}),
    "top_k": (1, {}),
    "top_p": (0.1, {}),
    "min_p": (0.9, {}),
    "typical_p": (0.05, {}),
    "repetition_penalty": (5.0, {}),
    "repetition_window": (1, {"repetition_penalty": 5.0}),
    "presence_penalty": (5.0, {}),
    "frequency_penalty": (5.0, {}),
    "stop": (("a", "b", "c", "d"), {}),
    "unknown_token": ("allowed", {}),
    "n": (2, {}),
    "seed": (4, {}),
}


class Extended(SamplingSettings):
    """The settings with a new one."""

    only_token: int = Field(-1, ge=-1, description="write nothing but this token; -1: off")


def names_by_place(settings_class):
    """Return, for each place, the settings of the class that it has."""
    options = {parameter.name for parameter in click.command()(sampling_options(settings_class)(lambda: None)).params}
    return {
        "options of a command": options,
        "fields of the page": {*field_names(WebSettings()), *NOT_ON_THE_PAGE},
        "schema of the API": set(schemas.request_model(WebSettings()).model_fields) - {"prompt", "model"},
        "settings that C heeds": native_batch.KNOWN_SETTINGS,
        "settings with an effect that is tested here": set(EFFECTS),
    }


def forgotten(settings_class):
    """Return the missing names for each place that lacks any."""
    names = set(settings_class.model_fields)
    return {place: names - found for place, found in names_by_place(settings_class).items() if names - found}


def test_every_setting_is_in_every_place_and_no_place_has_another():
    assert forgotten(SamplingSettings) == {}
    for found in names_by_place(SamplingSettings).values():
        assert found == set(SamplingSettings.model_fields)


def test_the_command_has_an_option_for_every_setting():
    assert {option.name for option in command.params} - NOT_SETTINGS == set(SamplingSettings.model_fields)


def test_a_new_setting_is_in_what_is_made_from_the_list_and_missed_elsewhere(monkeypatch):
    schemas.request_model.cache_clear()
    monkeypatch.setattr(schemas, "SamplingSettings", Extended)
    missed = forgotten(Extended)
    schemas.request_model.cache_clear()
    not_generated = "fields of the page", "settings that C heeds", "settings with an effect that is tested here"
    assert missed == {place: {"only_token"} for place in not_generated}


@pytest.fixture(params=[NumpyDecoder, pytest.param(NativeDecoder, marks=NEEDS_NATIVE)])
def decoder(request):
    return request.param(*random_weights())


@pytest.mark.parametrize("name", EFFECTS)
def test_every_setting_changes_the_text(name, decoder):
    value, beside = EFFECTS[name]
    common = {"max_tokens": 60, "temperature": 1.0, "seed": 3, **beside}
    without = generate(decoder, LETTERS, "ab", SamplingSettings(**common))
    assert generate(decoder, LETTERS, "ab", SamplingSettings(**{**common, name: value})).samples != without.samples


def test_a_setting_that_only_python_knows_takes_effect_with_any_decoder(decoder, monkeypatch):
    ordinary = processors.filters

    def filters(settings):
        only = np.arange(LETTERS.vocabulary_size) == settings.only_token
        return [*ordinary(settings), lambda logits: np.where(only, logits, -np.inf)]

    monkeypatch.setattr(processors, "filters", filters)
    settings = Extended(max_tokens=9, only_token=LETTERS.stoi["c"])
    assert generate(decoder, LETTERS, "ab", settings).samples[0].text == "c" * 9


@pytest.mark.parametrize("name", sorted(set(EFFECTS) - {"n", "seed", "stop", "unknown_token"}))
def test_the_page_says_every_number_that_is_not_off(name):
    fields = {field.name: field for field in number_fields(WebSettings())}
    assert fields[name].label.lower() in wording(SamplingSettings(**{name: EFFECTS[name][0]}), WebSettings())


def test_the_help_states_for_every_setting_that_the_default_is_the_models_own(cli):
    text = " ".join(cli("generate", "--help").out.split())
    for name, field in SamplingSettings.model_fields.items():
        option = text[text.index(f" --{name.replace('_', '-')} ") :]
        help_text = option[: option.index(" [default: the model's own]")]
        assert f"{field.description[0].upper()}{field.description[1:]}" in help_text
    assert text.count("[default: the model's own]") == len(SamplingSettings.model_fields)
