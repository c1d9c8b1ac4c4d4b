"""A trained model, one token at a time: the protocol, three implementations of it, and the choice between them.

`torch_decoder` runs any model through its own `forward`. `numpy_decoder` is the LSTM in numpy, `native_decoder` the
same in C; both read the weights listed in `weights`, and refuse a model with any other part. `select` chooses the
fastest decoder that supports a model, and explains the choice.
"""

from unrolled.decoding.decoder import Decoder, DecoderState, Support
from unrolled.decoding.native_decoder import PRECISIONS, NativeDecoder
from unrolled.decoding.numpy_decoder import NumpyDecoder, NumpyState
from unrolled.decoding.select import DecoderChoice, decoder_of, explain_decoder, precision_for, select_decoder
from unrolled.decoding.torch_decoder import TorchDecoder, TorchState
from unrolled.decoding.weights import Layer, weights_of

__all__ = [
    "PRECISIONS",
    "Decoder",
    "DecoderChoice",
    "DecoderState",
    "Layer",
    "NativeDecoder",
    "NumpyDecoder",
    "NumpyState",
    "Support",
    "TorchDecoder",
    "TorchState",
    "decoder_of",
    "explain_decoder",
    "precision_for",
    "select_decoder",
    "weights_of",
]
