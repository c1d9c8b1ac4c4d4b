"""A model with one layer as an ONNX graph, https://onnx.ai/onnx/operators/onnx__LSTM.html.

    ids (T, B), h and c (1, B, H)  ->  logits (T, B, V), h_new and c_new (1, B, H)
    Gather (embedding), LSTM, MatMul and Add (output layer)

ONNX orders the gates i o f g. T: steps, B: rows, V: vocabulary, E: embedding size, H: hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from unrolled.decoding import Layer


def onnx_graph(
    embedding: np.ndarray, layers: Sequence[Layer], output_weight: np.ndarray, output_bias: np.ndarray
) -> Any:
    """Build and check the graph; the `onnx.ModelProto` holds the weights.

    Args:
        embedding: (V, E).
        layers: one layer's w_ih (E, 4H), w_hh (H, 4H) and bias (4H,), gates i f g o.
        output_weight: (V, H).
        output_bias: (V,).

    Raises:
        ImportError: the package `onnx` is not installed.
        ValueError: there is not exactly one layer.
    """
    if len(layers) != 1:
        raise ValueError(f"the ONNX graph has one layer, not {len(layers)}")
    from onnx import TensorProto, checker, helper, numpy_helper

    weights = _weights(embedding, layers[0], output_weight, output_bias)
    H = output_weight.shape[1]
    nodes = [
        helper.make_node("Gather", ["embedding", "ids"], ["x"]),
        helper.make_node("LSTM", ["x", "W", "R", "B", "", "h", "c"], ["y", "h_new", "c_new"], hidden_size=H),
        helper.make_node("Squeeze", ["y", "directions"], ["rows"]),
        helper.make_node("MatMul", ["rows", "output"], ["scores"]),
        helper.make_node("Add", ["scores", "output_bias"], ["logits"]),
    ]
    names = ("logits", "h_new", "c_new")
    results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * 3) for name in names]
    state = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, None, H]) for name in ("h", "c")]
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, [None, None])
    constants = [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "step", [ids, *state], results, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(model)
    return model


def _weights(
    embedding: np.ndarray, layer: Layer, output_weight: np.ndarray, output_bias: np.ndarray
) -> dict[str, np.ndarray]:
    """Return the graph's constants by name, in the shapes that ONNX wants."""
    w_ih, w_hh, bias = (_gates_in_onnx_order(part) for part in layer)
    return {
        "embedding": embedding,
        "W": w_ih.T[None],
        "R": w_hh.T[None],
        "B": np.concatenate([bias, np.zeros_like(bias)])[None],
        "output": output_weight.T,
        "output_bias": output_bias,
        "directions": np.array([1]),
    }


def _gates_in_onnx_order(columns: np.ndarray) -> np.ndarray:
    i, f, g, o = np.split(np.asarray(columns, np.float32), 4, axis=-1)
    return np.concatenate([i, o, f, g], axis=-1)
