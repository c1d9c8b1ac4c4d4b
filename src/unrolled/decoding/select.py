"""The decoder of a trained model: its weights, copied out of PyTorch."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from unrolled.decoding.native_decoder import PRECISIONS, NativeDecoder
from unrolled.decoding.numpy_decoder import Layer, NumpyDecoder
from unrolled.kernels.native import native_library, native_status
from unrolled.nn import LanguageModel


def decoder_of(model: LanguageModel, precision: str = "float32") -> NativeDecoder | NumpyDecoder:
    """Return a decoder with a copy of the model's weights, on the CPU, whatever the model's device.

    It is the native one, or the one in numpy, always float32, where unrolled was installed without a C compiler.
    """
    if native_library() is None:
        return NumpyDecoder(*weights_of(model))
    return NativeDecoder(*weights_of(model), precision=precision)


def precision_here(asked: str) -> tuple[str, tuple[str, ...]]:
    """Return the precision of the weights that text can be written with here, and a warning where it is another one.

    Raises:
        ValueError: an unknown precision.
    """
    if asked not in PRECISIONS:
        raise ValueError(f"decoding is {' or '.join(PRECISIONS)}, not {asked!r}")
    if asked == "float32" or native_library() is not None:
        return asked, ()
    reason = f"Writing with {asked} weights needs the native kernel ({native_status()})"
    return "float32", (f"{reason}; float32 is used instead.",)


def weights_of(model: LanguageModel) -> tuple[np.ndarray, list[Layer], np.ndarray, np.ndarray]:
    """Return copies of the model's weights in the order in which a decoder takes them."""
    layers = [(_array(layer.w_ih), _array(layer.w_hh), _array(layer.bias)) for layer in model.layers]
    return _array(model.embedding), layers, _array(model.output_matrix), _array(model.output_bias)


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy().copy()
