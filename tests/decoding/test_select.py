"""Which decoder serves a model, and why: no part of a model is ever left out."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.decoding.own_part import model_with_own_part
from tests.decoding.random_models import decoders
from unrolled.config import ModelSettings
from unrolled.decoding import (
    NativeDecoder,
    NumpyDecoder,
    TorchDecoder,
    decoder_of,
    explain_decoder,
    native_decoder,
    precision_for,
    select_decoder,
    weights,
    weights_of,
)
from unrolled.kernels import available_kernels
from unrolled.native import decode, native_library, native_status
from unrolled.nn import LanguageModel

NEEDS_NATIVE = pytest.mark.skipif(native_library() is None, reason="unrolled was installed without a C compiler")


def model(**settings):
    return LanguageModel(ModelSettings(**{"embedding_size": 3, "hidden_size": 5, **settings}), 7, torch.Generator())


@pytest.fixture
def without_library(monkeypatch):
    monkeypatch.setattr(native_decoder, "native_library", lambda: None)
    monkeypatch.setattr(native_decoder, "native_status", lambda: "not built: there was no C compiler")


@NEEDS_NATIVE
@pytest.mark.parametrize("kernel", available_kernels().values(), ids=available_kernels())
@pytest.mark.parametrize("settings", [{}, {"layers": 3}, {"tying": "tied", "embedding_size": 5}])
def test_an_ordinary_model_is_decoded_in_c(settings, kernel):
    ordinary = model(**settings)
    ordinary.kernel = kernel
    assert isinstance(decoder_of(ordinary, "bfloat16"), NativeDecoder)
    assert explain_decoder(ordinary) == f"native: {native_status()}"


def test_without_the_library_an_ordinary_model_is_decoded_in_numpy(without_library, monkeypatch):
    assert isinstance(decoder_of(model(), "bfloat16"), NumpyDecoder)
    assert explain_decoder(model()) == "numpy: native is not built: there was no C compiler"
    monkeypatch.setattr(decode, "native_library", lambda: None)
    with pytest.raises(RuntimeError, match="there is no native kernel here"):
        decoders()


def with_buffer(changed):
    changed.layers[0].register_buffer("scale", torch.ones(5), persistent=False)


def with_module(changed):
    changed.layers.append(nn.Identity())


def with_other_layer(changed):
    class OtherLayer(type(changed.layers[0])):
        pass

    changed.layers[0].__class__ = OtherLayer


def with_own_method(changed):
    changed.logits = lambda h: 2 * LanguageModel.logits(changed, h)


def with_hook(changed):
    changed.layers[0].register_forward_hook(lambda module, inputs, output: output)


def with_own_kernel(changed):
    class Kernel:
        pass

    changed.kernel = Kernel()


def with_setting(changed):
    class Settings(ModelSettings):
        cell_limit: float = 0.0

    changed.settings = Settings(**changed.settings.model_dump())


def without_parameter(changed):
    changed.output.bias = None


def with_many(changed):
    changed.extra = nn.ParameterList([torch.ones(1)] * 8)


def with_other_class(changed):
    class Other(LanguageModel):
        pass

    changed.__class__ = Other


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (with_buffer, "layers.0.scale"),
        (with_module, "layers.1 (Identity)"),
        (with_other_layer, "layers.0 (OtherLayer)"),
        (with_own_method, "LanguageModel"),
        (with_hook, "layers.0 (LSTMLayer)"),
        (with_own_kernel, "kernel (Kernel)"),
        (with_setting, "model.cell_limit"),
        (without_parameter, "output.bias"),
        (with_many, "extra.0, extra.1, extra.2, extra.3, extra.4 and 3 more"),
        (with_other_class, "Other"),
    ],
)
def test_a_model_with_any_part_that_is_not_known_is_left_to_pytorch_and_the_part_is_named(change, parts):
    changed = model()
    change(changed)
    assert select_decoder(changed).name == "torch"
    assert explain_decoder(changed) == f"torch: the model has parts that the fast decoders do not know: {parts}"
    assert not NumpyDecoder.supports(changed)
    assert not NativeDecoder.supports(changed)
    with pytest.raises(ValueError, match="do not know"):
        weights_of(changed)


def test_a_parameter_of_its_own_is_named():
    own = model_with_own_part()
    assert isinstance(decoder_of(own), TorchDecoder)
    assert explain_decoder(own).endswith("the fast decoders do not know: extra.weight")


def test_every_setting_of_a_model_is_known_to_the_fast_decoders():
    """A new one goes into `KNOWN_SETTINGS` once the decoders heed it, or where it has no effect on them."""
    assert set(ModelSettings.model_fields) <= weights.KNOWN_SETTINGS


@NEEDS_NATIVE
def test_weights_that_several_layers_share_are_known():
    shared = model(layers=2)
    shared.layers[1].w_hh = shared.layers[0].w_hh
    assert select_decoder(shared).name == "native"


def test_the_precision_is_one_that_the_models_decoder_has(without_library):
    own = model_with_own_part()
    assert precision_for(own, "float32") == ("float32", ())
    precision, (warning,) = precision_for(own, "bfloat16")
    assert precision == "float32"
    assert warning.startswith("Writing with bfloat16 weights needs the native kernel (the model has parts that")
    assert warning.endswith("do not know: extra.weight); float32 is used instead.")
    with pytest.raises(ValueError, match="decoding is float32 or bfloat16, not 'int8'"):
        precision_for(model(), "int8")
