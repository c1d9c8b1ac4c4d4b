"""Bounds of settings: every number has two, and a model generates text at its extremes."""

import itertools
import math
import re
import sys
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unrolled.config import SamplingSettings, Settings, make_settings, sampling_range
from unrolled.errors import UserError
from unrolled.trained import load

SMALLEST_SUBNORMAL, SMALLEST_NORMAL, LARGEST = 5e-324, sys.float_info.min, sys.float_info.max


def bounds():
    """Return name -> (type, lowest, highest) for every numeric setting, as its JSON schema has them."""
    found = {}
    for section, field in Settings.model_fields.items():
        for name, schema in field.annotation.model_json_schema()["properties"].items():
            for kind in schema.get("anyOf", [schema]):
                if kind.get("type") in ("integer", "number"):
                    found[f"{section}.{name}"] = (kind["type"], kind.get("minimum"), kind.get("maximum"))
    return found


BOUNDS = bounds()
DECODING = [name.partition(".")[2] for name in BOUNDS if name.startswith("sampling.")]


def extremes(name):
    """Return extreme values of a sampling setting: its bounds, their neighbours, the smallest numbers."""
    low, high = sampling_range(name)
    if BOUNDS[f"sampling.{name}"][0] == "integer":
        return [low, low + 1, high - 1, high]
    candidates = (low, math.nextafter(low, math.inf), math.nextafter(high, -math.inf), high, 0.0)
    small = (SMALLEST_SUBNORMAL, SMALLEST_NORMAL, -SMALLEST_SUBNORMAL, math.nextafter(1, 0), math.nextafter(1, 2))
    return [value for value in (*candidates, *small) if low <= value <= high]


@pytest.fixture(scope="module")
def model(trained_once):
    return load(trained_once, device="cpu")


def test_every_number_has_a_lowest_and_a_highest_value():
    assert len(BOUNDS) > 40
    assert {name for name, (_, low, high) in BOUNDS.items() if low is None or high is None} == set()


@pytest.mark.parametrize("name", BOUNDS)
def test_a_bound_is_accepted_and_a_value_beyond_is_refused_with_the_bound(name):
    kind, low, high = BOUNDS[name]
    alone = {} if not name.endswith("_fraction") else {"data.valid_fraction": 0.001, "data.test_fraction": 0.0}
    for bound, beyond in ((low, -math.inf), (high, math.inf)):
        assert make_settings(overrides={**alone, name: bound})
        outside = bound + int(math.copysign(1, beyond)) if kind == "integer" else math.nextafter(bound, beyond)
        for value in (outside, *[math.copysign(LARGEST, beyond)] * (kind == "number")):
            with pytest.raises(UserError) as caught:
                make_settings(overrides={name: value})
            said = re.search(
                re.escape(f"{name} = {value} should be ") + r"\w+ than or equal to ([\d.-]*\d)", str(caught.value)
            )
            assert float(said[1]) == float(bound)


@pytest.mark.parametrize("value", [SMALLEST_SUBNORMAL, SMALLEST_NORMAL, -SMALLEST_SUBNORMAL, 1e-320])
def test_the_smallest_divisors_are_refused_by_their_bound_and_not_blamed_on_the_weights(model, value):
    with pytest.raises(UserError, match=r"repetition_penalty = .* should be greater than or equal to 0\.01"):
        model.generate("On", repetition_penalty=value)


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in DECODING for value in extremes(name)])
def test_every_sampling_setting_gives_a_text_at_its_extremes(model, name, value):
    writes(model, {name: value})


@settings(max_examples=10)
@given(st.fixed_dictionaries({}, optional={name: st.sampled_from(extremes(name)) for name in DECODING}))
def test_combined_extremes_give_a_text(model, values):
    writes(model, values)


def writes(model, values):
    """Generate the beginning of a text, with warnings as errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        deltas = list(itertools.islice(model.stream("On day 3", **{"seed": 1, **values}), 12))
    length = values.get("max_tokens", SamplingSettings().max_tokens)
    assert deltas or length == 0 or values.get("n") == 0
