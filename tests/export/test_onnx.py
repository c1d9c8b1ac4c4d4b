"""The ONNX graph computes what the model computes."""

import numpy as np
import pytest
import torch

from unrolled.config import ModelSettings
from unrolled.decoding import weights_of
from unrolled.export import onnx as onnx_export
from unrolled.nn import LanguageModel

IDS = np.array([[1, 8], [4, 0], [0, 5], [2, 6], [9, 10]])  # (T, B)
H = 7


def model_of(layers=1):
    settings = ModelSettings(embedding_size=5, hidden_size=H, layers=layers)
    model = LanguageModel(settings, 11, torch.Generator().manual_seed(3))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(4)) * 0.3)
    return model


def state():
    return np.random.default_rng(5).normal(size=(2, 1, IDS.shape[1], H)).astype(np.float32) * 0.4


def expected(model):
    with torch.no_grad():
        h, c = torch.from_numpy(state())
        logits, after = model(torch.from_numpy(IDS).t(), type(model.initial_state(1))(h, c))
    return logits.transpose(0, 1).numpy(), after.h.numpy(), after.c.numpy()


def test_the_weights_give_the_same_by_the_equations_of_the_onnx_operator():
    model, (h, c) = model_of(), state()
    weights = onnx_export._weights(*(part[0] if k == 1 else part for k, part in enumerate(weights_of(model))))
    logits, h, c = [], h[0], c[0]
    bias = weights["B"][0, : 4 * H] + weights["B"][0, 4 * H :]
    for ids in IDS:
        gates = weights["embedding"][ids] @ weights["W"][0].T + h @ weights["R"][0].T + bias
        i, o, f, g = np.split(gates, 4, axis=1)
        i, o, f = (1 / (1 + np.exp(-gate)) for gate in (i, o, f))
        c = f * c + i * np.tanh(g)
        h = o * np.tanh(c)
        logits.append(h @ weights["output"] + weights["output_bias"])
    for ours, theirs in zip((np.stack(logits), h[None], c[None]), expected(model), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_the_graph_computes_the_same_in_the_reference_implementation_of_onnx():
    pytest.importorskip("onnx")
    from onnx.reference import ReferenceEvaluator

    model, (h, c) = model_of(), state()
    graph = onnx_export.onnx_graph(*weights_of(model))
    given = {"ids": IDS.astype(np.int64), "h": h, "c": c}
    for ours, theirs in zip(ReferenceEvaluator(graph).run(None, given), expected(model), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_more_than_one_layer_is_refused_and_not_left_out():
    with pytest.raises(ValueError, match="one layer, not 2"):
        onnx_export.onnx_graph(*weights_of(model_of(layers=2)))
