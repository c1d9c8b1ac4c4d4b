"""The weights that the fast decoders read from a language model, and whether they are the whole model.

A decoder that copies weights by name silently computes something else once a model has another part. A model is
therefore supported only if each of its classes, parameters, buffers, settings and its kernel is listed here.

E: embedding size, H: hidden size, I: a layer's input size (E for the first layer, then H), V: vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from unrolled.decoding.decoder import Support
from unrolled.kernels import GATES, available_kernels
from unrolled.nn import LanguageModel, LSTMLayer, SeparateOutput, TiedOutput, TokenEmbedding

Layer = tuple[np.ndarray, np.ndarray, np.ndarray]  # w_ih (I, 4H), w_hh (H, 4H), bias (4H,)

KNOWN_SETTINGS = {"embedding_size", "hidden_size", "layers", "tying", "initialization"}
OUTPUT_LAYERS = {"separate": SeparateOutput, "tied": TiedOutput}
MOST_NAMES = 5  # unknown parts in a message


def weights_of(model: LanguageModel) -> tuple[np.ndarray, list[Layer], np.ndarray, np.ndarray]:
    """Return copies of the model's weights, in the order of a decoder's arguments.

    Raises:
        ValueError: they are not the whole model.
    """
    if not (support := support_by_weights(model)):
        raise ValueError(support.reason)
    layers = [(_array(layer.w_ih), _array(layer.w_hh), _array(layer.bias)) for layer in model.layers]
    return _array(model.embedding), layers, _array(model.output_matrix), _array(model.output_bias)


def support_by_weights(model: nn.Module) -> Support:
    """Tell whether `weights_of` returns the whole model."""
    unknown = unknown_parts(model)
    if not unknown:
        return Support(True)
    more = f" and {len(unknown) - MOST_NAMES} more" if len(unknown) > MOST_NAMES else ""
    names = ", ".join(unknown[:MOST_NAMES])
    return Support(False, f"the model has parts that the fast decoders do not know: {names}{more}")


def unknown_parts(model: nn.Module) -> list[str]:
    """Return the names of all parts of a model that the fast decoders do not support."""
    if not isinstance(model, LanguageModel):
        return [type(model).__name__]
    return _unknown_tensors(model) or [*_unknown_code(model), *_unknown_settings(model)]


def has_known_kernel(model: LanguageModel) -> bool:
    """Tell whether the model's kernel is one of ours, which all compute the same recurrence."""
    return type(model.kernel) in {type(kernel) for kernel in available_kernels().values()}


def check_shapes(
    embedding: np.ndarray, layers: Sequence[Layer], output_weight: np.ndarray, output_bias: np.ndarray
) -> tuple[int, int]:
    """Return V and H.

    Raises:
        ValueError: the shapes do not agree on them.
    """
    if not layers:
        raise ValueError("a decoder has at least one layer")
    vocabulary_size, input_size = np.shape(embedding)
    hidden_size = np.shape(layers[0][1])[0]
    for number, (w_ih, w_hh, bias) in enumerate(layers):
        gates = GATES * hidden_size
        expected = [(input_size, gates), (hidden_size, gates), (gates,)]
        shapes = [np.shape(w_ih), np.shape(w_hh), np.shape(bias)]
        if shapes != expected:
            raise ValueError(f"layer {number} has shapes {shapes}, not {expected}")
        input_size = hidden_size
    if np.shape(output_weight) != (vocabulary_size, hidden_size) or np.shape(output_bias) != (vocabulary_size,):
        raise ValueError(f"the output layer has shapes {np.shape(output_weight), np.shape(output_bias)}")
    return vocabulary_size, hidden_size


def _unknown_tensors(model: LanguageModel) -> list[str]:
    """Return the unknown parameters and buffers, and the known ones that are missing."""
    known = {"embed.weight", "output.bias"} | ({"output.weight"} if model.settings.tying == "separate" else set())
    known |= {f"layers.{k}.{name}" for k in range(model.settings.layers) for name in ("w_ih", "w_hh", "bias")}
    tensors = model.named_parameters(remove_duplicate=False), model.named_buffers(remove_duplicate=False)
    found = {name for named in tensors for name, _ in named}
    return sorted(known ^ found)


def _unknown_code(model: LanguageModel) -> list[str]:
    """Return the modules of an unknown class or with replaced methods or hooks, and an unknown kernel."""
    output = OUTPUT_LAYERS.get(model.settings.tying)
    classes = {"": LanguageModel, "embed": TokenEmbedding, "output": output, "layers": nn.ModuleList}
    classes |= {f"layers.{k}": LSTMLayer for k in range(model.settings.layers)}
    changed = [
        f"{name} ({type(module).__name__})" if name else type(module).__name__
        for name, module in model.named_modules()
        if type(module) is not classes.get(name) or _has_own_methods(module)
    ]
    return changed if has_known_kernel(model) else [*changed, f"kernel ({type(model.kernel).__name__})"]


def _has_own_methods(module: nn.Module) -> bool:
    """Tell whether this object computes differently from its class."""
    replaced = any(callable(getattr(type(module), name, None)) for name in vars(module))
    return replaced or bool(module._forward_hooks or module._forward_pre_hooks)


def _unknown_settings(model: LanguageModel) -> list[str]:
    return [f"model.{name}" for name in type(model.settings).model_fields if name not in KNOWN_SETTINGS]


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().to("cpu", torch.float32).numpy().copy()
