"""Units of likelihood: the only module that uses log 2.

A loss is a sum of nats over predicted tokens; everything else follows from it by division:

    bits = nats / ln 2,    perplexity = exp(nats per token),    bits per character = bits / characters of the text.
"""

import math

NATS_PER_BIT = math.log(2.0)


def bits_from_nats(nats: float) -> float:
    """Convert a log-likelihood from nats to bits."""
    return nats / NATS_PER_BIT


def nats_from_bits(bits: float) -> float:
    """Convert a log-likelihood from bits to nats."""
    return bits * NATS_PER_BIT


def perplexity(nats_per_token: float) -> float:
    """Return exp(nats per token); infinity if that overflows a double, NaN if the loss is NaN."""
    try:
        return math.exp(nats_per_token)
    except OverflowError:
        return math.inf


def bits_per_unit(total_nats: float, units: int) -> float:
    """Return bits per unit (character, byte, token) of a text of `units` units; NaN for an empty text."""
    return bits_from_nats(total_nats) / units if units else math.nan
