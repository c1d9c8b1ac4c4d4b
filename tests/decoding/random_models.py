"""Models with random weights, as the decoders take them, and the decoder of PyTorch from the same weights."""

from __future__ import annotations

import math

import numpy as np
import torch

from unrolled.config import ModelSettings
from unrolled.decoding import NativeDecoder, NumpyDecoder, TorchDecoder
from unrolled.nn import LanguageModel


def random_weights(vocabulary=11, hidden=21, layers=1, seed=3, damage=0.0):
    """Return weights that give lively logits, as a decoder takes them."""
    draw = np.random.default_rng(seed)

    def normal(*shape):
        return draw.standard_normal(shape) / math.sqrt(shape[-1])

    sizes = [6, *[hidden] * (layers - 1)]
    parts = [(normal(size, 4 * hidden), 2 * normal(hidden, 4 * hidden), normal(4 * hidden)) for size in sizes]
    return 3 * normal(vocabulary, 6), parts, 9 * normal(vocabulary, hidden), normal(vocabulary) + damage


def decoders(vocabulary=11, hidden=21, layers=1, seed=3, damage=0.0):
    """Return the numpy and the native decoder of one random model."""
    weights = random_weights(vocabulary, hidden, layers, seed, damage)
    return NumpyDecoder(*weights), NativeDecoder(*weights)


def model_of(embedding, layers, output_weight, output_bias):
    """Return a language model with these weights."""
    (vocabulary, size), hidden = np.shape(embedding), np.shape(layers[0][1])[0]
    settings = ModelSettings(embedding_size=size, hidden_size=hidden, layers=len(layers))
    names = {f"layers.{k}.{n}": part for k, layer in enumerate(layers) for n, part in zip(PARTS, layer, strict=True)}
    names |= {"embedding": embedding, "output_weight": output_weight, "output_bias": output_bias}
    model = LanguageModel(settings, vocabulary, torch.Generator())
    model.load_state_dict({name: torch.tensor(np.asarray(values)) for name, values in names.items()})
    return model


def torch_decoder(embedding, layers, output_weight, output_bias):
    """Take the weights as `NumpyDecoder` does."""
    return TorchDecoder(model_of(embedding, layers, output_weight, output_bias))


PARTS = ("w_ih", "w_hh", "bias")
