"""Processors of logits, against the published formulas written as plain loops."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.config import SamplingSettings
from unrolled.sampling import processors

OFF = -math.inf
# Steps of 1/8 make ties common and keep sums away from the borders that rounding would decide.
LOGITS = st.lists(st.integers(-60, 60).map(lambda n: n / 8), min_size=1, max_size=23)
LOGITS_WITH_MASKED = st.tuples(LOGITS, st.sets(st.integers(0, 22))).map(
    lambda pair: [OFF if i in pair[1] and i > 0 else z for i, z in enumerate(pair[0])]
)
# Masses that no sum of a few probabilities hits exactly.
MASS = st.integers(1, 996).map(lambda n: n / 997)


def naive_softmax(logits):
    weights = [math.exp(z - max(logits)) for z in logits]
    return [w / math.fsum(weights) for w in weights]


def naive_top_k(logits, k):
    threshold = sorted(logits, reverse=True)[k - 1]
    return [z if z >= threshold else OFF for z in logits]


def naive_top_p(logits, mass):
    """Walk from the likeliest (the lower id of equals) until the mass is reached; the token that reaches it stays."""
    probabilities, held, kept = naive_softmax(logits), 0.0, set()
    for index in sorted(range(len(logits)), key=lambda i: (-logits[i], i)):
        if held >= mass:
            break
        kept.add(index)
        held += probabilities[index]
    return [z if i in kept else OFF for i, z in enumerate(logits)]


def naive_min_p(logits, fraction):
    probabilities = naive_softmax(logits)
    return [z if p >= fraction * max(probabilities) else OFF for z, p in zip(logits, probabilities, strict=True)]


def naive_typical_p(logits, mass):
    probabilities = naive_softmax(logits)
    entropy = -math.fsum(p * math.log(p) for p in probabilities if p > 0)
    distance = {i: abs(-math.log(p) - entropy) for i, p in enumerate(probabilities) if p > 0}
    held, kept = 0.0, set()
    for index in sorted(distance, key=lambda i: (round(distance[i], 9), i)):
        if held >= mass:
            break
        kept.add(index)
        held += probabilities[index]
    return [z if i in kept else OFF for i, z in enumerate(logits)]


@given(LOGITS_WITH_MASKED, st.integers(1, 22))
def test_top_k_keeps_the_k_largest_and_what_ties_with_the_last(logits, k):
    expected = naive_top_k(logits, k) if k <= len(logits) else logits
    assert processors.top_k(np.array(logits), k).tolist() == expected


@given(LOGITS_WITH_MASKED, MASS)
def test_top_p_keeps_the_smallest_likeliest_set_of_that_mass(logits, mass):
    assert processors.top_p(np.array(logits), mass).tolist() == naive_top_p(logits, mass)


@given(LOGITS_WITH_MASKED, MASS)
def test_min_p_compares_with_the_likeliest_token(logits, fraction):
    assert processors.min_p(np.array(logits), fraction).tolist() == naive_min_p(logits, fraction)


@given(LOGITS_WITH_MASKED, MASS)
def test_typical_p_keeps_the_tokens_nearest_to_the_entropy(logits, mass):
    probabilities = naive_softmax(logits)
    entropy = -math.fsum(p * math.log(p) for p in probabilities if p > 0)
    distances = sorted(
        {z: abs(-math.log(p) - entropy) for z, p in zip(logits, probabilities, strict=True) if p}.values()
    )
    if any(later - earlier < 1e-9 for earlier, later in itertools.pairwise(distances)):
        return  # two different logits equally typical: which goes first is rounding
    assert processors.typical_p(np.array(logits), mass).tolist() == naive_typical_p(logits, mass)


def test_typical_p_may_drop_the_likeliest_token_but_keeps_the_most_typical():
    logits = np.log([0.5, 0.2, 0.1, 0.1, 0.1])  # entropy 1.36 nats: 0.2 has 1.61, 0.5 only 0.69
    kept = processors.typical_p(logits, 0.01)
    assert np.isfinite(kept).tolist() == [False, True, False, False, False]


@given(LOGITS_WITH_MASKED)
def test_filters_at_their_strictest_keep_the_top_token(logits):
    row, best = np.array(logits), int(np.argmax(logits))
    for filtered in (processors.top_k(row, 1), processors.top_p(row, 0.0), processors.min_p(row, 1.0)):
        assert filtered[best] == logits[best]
    assert np.isfinite(processors.typical_p(row, 1e-9)).sum() == 1


def test_top_p_zero_keeps_the_lowest_id_of_several_likeliest():
    assert processors.top_p(np.array([1.0, 3.0, 3.0, 2.0]), 0.0).tolist() == [OFF, 3.0, OFF, OFF]


@given(LOGITS, st.sets(st.integers(0, 22)), st.sampled_from([0.25, 0.5, 1.5, 2.0, 10.0]))
def test_repetition_penalty_divides_positive_and_multiplies_negative_logits(logits, seen_ids, penalty):
    seen = np.array([i in seen_ids for i in range(len(logits))])
    expected = []
    for index, z in enumerate(logits):
        if index not in seen_ids:
            expected.append(z)
        elif z > 0:
            expected.append(z / penalty)
        else:
            expected.append(z * penalty)
    assert processors.repetition_penalty(np.array(logits), seen, penalty).tolist() == expected


def test_repetition_penalty_never_makes_a_negative_logit_more_likely():
    penalised = processors.repetition_penalty(np.array([-2.0, 2.0, -2.0]), np.array([True, True, False]), 1.25)
    assert penalised.tolist() == [-2.5, 1.6, -2.0]


@given(LOGITS, st.lists(st.integers(0, 4), min_size=23, max_size=23), st.integers(-4, 4), st.integers(-4, 4))
def test_frequency_counts_each_time_and_presence_once(logits, counts, frequency, presence):
    counts = counts[: len(logits)]
    expected = [z - frequency * n - (presence if n > 0 else 0) for z, n in zip(logits, counts, strict=True)]
    row = processors.frequency_and_presence(np.array(logits), np.array(counts, float), frequency, presence)
    assert row.tolist() == expected


NEUTRAL = {
    "repetition_penalty": lambda z: processors.repetition_penalty(z, np.ones(z.size, bool), 1.0),
    "frequency_and_presence": lambda z: processors.frequency_and_presence(z, np.ones(z.size), 0.0, 0.0),
    "temperature": lambda z: processors.temperature(z, 1.0),
    "top_k 0": lambda z: processors.top_k(z, 0),
    "top_k -1": lambda z: processors.top_k(z, -1),
    "top_k of all": lambda z: processors.top_k(z, z.size),
    "top_p": lambda z: processors.top_p(z, 1.0),
    "min_p": lambda z: processors.min_p(z, 0.0),
    "typical_p": lambda z: processors.typical_p(z, 1.0),
}

ACTIVE = {
    "repetition_penalty": lambda z: processors.repetition_penalty(z, np.ones(z.size, bool), 1.3),
    "frequency_and_presence": lambda z: processors.frequency_and_presence(z, np.ones(z.size), 0.5, 0.25),
    "temperature": lambda z: processors.temperature(z, 0.7),
    "top_k": lambda z: processors.top_k(z, 3),
    "top_p": lambda z: processors.top_p(z, 0.6),
    "min_p": lambda z: processors.min_p(z, 0.3),
    "typical_p": lambda z: processors.typical_p(z, 0.6),
}


@pytest.mark.parametrize("name", NEUTRAL)
def test_a_neutral_value_changes_no_bit(name):
    logits = np.random.default_rng(5).standard_normal(31).astype(np.float32)
    assert NEUTRAL[name](logits).tobytes() == logits.tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ACTIVE)
def test_a_processor_keeps_the_dtype_and_never_writes_into_its_input(name, dtype):
    logits = np.random.default_rng(6).standard_normal(31).astype(dtype)
    logits.flags.writeable = False
    result = ACTIVE[name](logits)
    assert result.dtype == dtype
    assert not np.array_equal(result, logits)


def test_filters_run_in_the_documented_order_on_renormalised_survivors():
    logits = np.log([0.4, 0.3, 0.2, 0.1])
    settings = SamplingSettings(temperature=1, top_k=2, top_p=0.56)
    for apply in processors.filters(settings):
        logits = apply(logits)
    # Of the two survivors the first alone has 4/7 = 0.571 >= 0.56; without renormalising it would have 0.4.
    assert np.isfinite(logits).tolist() == [True, False, False, False]


def test_filters_that_are_off_are_left_out():
    assert processors.filters(SamplingSettings(temperature=1)) == []
