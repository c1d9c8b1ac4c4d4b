"""A trained model, one token at a time: the protocol, two implementations of it, and which one serves a model.

`numpy_decoder` is the LSTM in numpy, `native_decoder` the same in C, `select` makes one from a `LanguageModel`.
"""

from unrolled.decoding.decoder import Decoder, DecoderState
from unrolled.decoding.native_decoder import PRECISIONS, NativeDecoder
from unrolled.decoding.numpy_decoder import Layer, NumpyDecoder, NumpyState
from unrolled.decoding.select import decoder_of, precision_here, weights_of

__all__ = [
    "PRECISIONS",
    "Decoder",
    "DecoderState",
    "Layer",
    "NativeDecoder",
    "NumpyDecoder",
    "NumpyState",
    "decoder_of",
    "precision_here",
    "weights_of",
]
