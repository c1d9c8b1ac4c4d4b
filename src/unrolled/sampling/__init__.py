"""Writing text: `generate` and `stream` over any `Decoder`, and the numpy decoder that steps an LSTM quickly.

`processors` holds the operations on logits in their order, `draw` the one random draw, `choice` puts both to work for a
sample, `stepper` is the LSTM one token at a time.
"""

from unrolled.sampling.draw import resolve_seed
from unrolled.sampling.from_model import decoder_of
from unrolled.sampling.generate import Decoder, Delta, Generation, Sample, generate, stream
from unrolled.sampling.stepper import NumpyDecoder, NumpyState

__all__ = [
    "Decoder",
    "Delta",
    "Generation",
    "NumpyDecoder",
    "NumpyState",
    "Sample",
    "decoder_of",
    "generate",
    "resolve_seed",
    "stream",
]
