"""Writing text: `generate` and `stream` over any `Decoder`, and two decoders that step an LSTM quickly.

`processors` holds the operations on logits in their order, `draw` the one random draw, `choice` puts both to work for a
sample, `drawing` runs the samples of a request side by side; `stepper` is the LSTM one token at a time in numpy.
`native_decoder` is all of that in C, block by block.
"""

from unrolled.sampling.draw import resolve_seed
from unrolled.sampling.drawing import Decoder
from unrolled.sampling.from_model import decoder_of, precision_here
from unrolled.sampling.generate import Delta, Generation, Sample, generate, stream
from unrolled.sampling.native_decoder import PRECISIONS, NativeDecoder
from unrolled.sampling.stepper import NumpyDecoder, NumpyState

__all__ = [
    "PRECISIONS",
    "Decoder",
    "Delta",
    "Generation",
    "NativeDecoder",
    "NumpyDecoder",
    "NumpyState",
    "Sample",
    "decoder_of",
    "generate",
    "precision_here",
    "resolve_seed",
    "stream",
]
