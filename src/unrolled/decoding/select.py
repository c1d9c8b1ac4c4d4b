"""Which decoder is used for a model, and why: the fastest one that supports all parts of the model."""

from __future__ import annotations

from dataclasses import dataclass

from unrolled.decoding.decoder import Decoder
from unrolled.decoding.native_decoder import PRECISIONS, NativeDecoder
from unrolled.decoding.numpy_decoder import NumpyDecoder
from unrolled.decoding.torch_decoder import TorchDecoder
from unrolled.decoding.weights import weights_of
from unrolled.nn import LanguageModel

FASTEST_FIRST = (NativeDecoder, NumpyDecoder, TorchDecoder)  # the last one supports every model


@dataclass(frozen=True)
class DecoderChoice:
    """A kind of decoder and the reason for it, for the user."""

    name: str
    reason: str
    precisions: tuple[str, ...]  # of the weights, as far as it supports them


def select_decoder(model: LanguageModel) -> DecoderChoice:
    """Return the fastest decoder that supports the model here, and why no faster one does."""
    refused = None
    for kind in FASTEST_FIRST:
        support = kind.supports(model)
        if support:
            return DecoderChoice(kind.name, support.reason if refused is None else refused, kind.precisions)
        refused = support.reason
    raise AssertionError("no decoder supports the model")


def explain_decoder(model: LanguageModel) -> str:
    """Return the decoder of a model on this machine and the reason for it, for the user."""
    choice = select_decoder(model)
    return f"{choice.name}: {choice.reason}"


def decoder_of(model: LanguageModel, precision: str = "float32") -> Decoder:
    """Return a decoder with a copy of the model's weights, always on the CPU.

    Args:
        model: any language model.
        precision: float32 or bfloat16; decoders other than the native one always use float32 (see `precision_for`).
    """
    name = select_decoder(model).name
    if name == TorchDecoder.name:
        return TorchDecoder(model)
    if name == NumpyDecoder.name:
        return NumpyDecoder(*weights_of(model))
    return NativeDecoder(*weights_of(model), precision=precision)


def precision_for(model: LanguageModel, requested: str) -> tuple[str, tuple[str, ...]]:
    """Return the precision of the weights with which this model is decoded here, and a warning if it is another one.

    Raises:
        ValueError: an unknown precision.
    """
    if requested not in PRECISIONS:
        raise ValueError(f"decoding is {' or '.join(PRECISIONS)}, not {requested!r}")
    choice = select_decoder(model)
    if requested in choice.precisions:
        return requested, ()
    reason = f"Writing with {requested} weights needs the native kernel ({choice.reason})"
    return "float32", (f"{reason}; float32 is used instead.",)
