"""Units of likelihood."""

import math

import pytest

from unrolled.units import bits_from_nats, bits_per_unit, nats_from_bits, perplexity


def test_a_fair_coin_is_one_bit():
    assert bits_from_nats(-math.log(0.5)) == 1
    assert nats_from_bits(1) == pytest.approx(0.6931471805599453, abs=0)


@pytest.mark.parametrize("nats", [0.0, 1e-300, 1.216, 1e300])
def test_nats_and_bits_convert_back(nats):
    assert nats_from_bits(bits_from_nats(nats)) == pytest.approx(nats, rel=1e-15)


def test_perplexity_is_the_number_of_equally_likely_choices():
    assert perplexity(math.log(89)) == pytest.approx(89)
    assert perplexity(0) == 1


def test_perplexity_beyond_a_double_is_infinite_and_of_nan_is_nan():
    assert perplexity(1000) == math.inf
    assert perplexity(math.inf) == math.inf
    assert math.isnan(perplexity(math.nan))


def test_bits_per_unit_divide_the_whole_text():
    assert bits_per_unit(nats_from_bits(600), 200) == pytest.approx(3)
    assert bits_per_unit(0.0, 5) == 0
    assert math.isnan(bits_per_unit(0.0, 0))
