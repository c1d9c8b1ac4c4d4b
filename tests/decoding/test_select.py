"""Which decoder serves a model."""

from __future__ import annotations

import pytest
import torch

from tests.decoding.random_models import decoders
from unrolled.decoding import select
from unrolled.kernels.native import decoding


def test_without_the_library_the_decoder_is_the_one_in_numpy(monkeypatch):
    class Model:
        layers, embedding = (), torch.zeros(2, 1)
        output_matrix, output_bias = torch.zeros(2, 1), torch.zeros(2)

    made = []
    monkeypatch.setattr(select, "NumpyDecoder", lambda *weights: made.append("numpy"))
    monkeypatch.setattr(select, "NativeDecoder", lambda *weights, precision: made.append(precision))
    select.decoder_of(Model())
    select.decoder_of(Model(), "bfloat16")
    monkeypatch.setattr(select, "native_library", lambda: None)
    select.decoder_of(Model(), "bfloat16")
    assert made == ["float32", "bfloat16", "numpy"]
    monkeypatch.setattr(decoding, "native_library", lambda: None)
    with pytest.raises(RuntimeError, match="without its native kernel"):
        decoders()
