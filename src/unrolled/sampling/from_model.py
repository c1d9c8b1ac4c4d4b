"""The decoder of a trained model: its weights, copied out of PyTorch into numpy."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from unrolled.nn import LanguageModel
from unrolled.sampling.stepper import NumpyDecoder


def decoder_of(model: LanguageModel) -> NumpyDecoder:
    """Return a decoder with a copy of the model's weights, on the CPU, whatever the model's device."""
    layers = [(_array(layer.w_ih), _array(layer.w_hh), _array(layer.bias)) for layer in model.layers]
    return NumpyDecoder(_array(model.embedding), layers, _array(model.output_matrix), _array(model.output_bias))


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy().copy()
