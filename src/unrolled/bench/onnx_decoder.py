"""The same model as a decoder on ONNX Runtime, a rival in `generation` where `onnx` and `onnxruntime` are installed.

One graph for a step: Gather (embedding), LSTM, MatMul and Add (output layer). ONNX orders the gates i o f g.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from unrolled.decoding import Layer, NumpyState


class OnnxDecoder:
    """A `Decoder` of one layer whose steps ONNX Runtime computes on one thread."""

    def __init__(
        self, embedding: np.ndarray, layers: Sequence[Layer], output_weight: np.ndarray, output_bias: np.ndarray
    ) -> None:
        """Build the graph from weights as `NumpyDecoder` takes them; ImportError where the packages are missing."""
        import onnxruntime

        self.vocabulary_size, self._hidden = output_weight.shape
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        graph = _graph(embedding, layers[0], output_weight, output_bias).SerializeToString()
        self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    def initial_state(self, rows: int) -> NumpyState:
        shape = (1, rows, self._hidden)
        return NumpyState(np.zeros(shape, np.float32), np.zeros(shape, np.float32))

    def step(self, ids: np.ndarray, state: NumpyState) -> tuple[np.ndarray, NumpyState]:
        logits, state = self._run(ids[None], state)
        return logits[0], state

    def prefill(self, ids: np.ndarray, state: NumpyState) -> tuple[np.ndarray, NumpyState]:
        logits, state = self._run(ids[:, None], state)
        return logits[-1, 0], state

    def _run(self, ids: np.ndarray, state: NumpyState) -> tuple[np.ndarray, NumpyState]:
        """Return the logits (T, B, V) of ids (T, B)."""
        logits, h, c = self._session.run(None, {"ids": ids.astype(np.int64), "h": state.h, "c": state.c})
        return logits, NumpyState(h, c)


def _graph(embedding: np.ndarray, layer: Layer, output_weight: np.ndarray, output_bias: np.ndarray) -> Any:
    from onnx import TensorProto, checker, helper, numpy_helper

    w_ih, w_hh, bias = (_gates_in_onnx_order(part) for part in layer)
    constants = {
        "embedding": embedding,
        "W": w_ih.T[None],
        "R": w_hh.T[None],
        "B": np.concatenate([bias, np.zeros_like(bias)])[None],
        "output": output_weight.T,
        "output_bias": output_bias,
        "directions": np.array([1]),
    }
    nodes = [
        helper.make_node("Gather", ["embedding", "ids"], ["x"]),
        helper.make_node("LSTM", ["x", "W", "R", "B", "", "h", "c"], ["y", "h_new", "c_new"], hidden_size=len(w_hh)),
        helper.make_node("Squeeze", ["y", "directions"], ["rows"]),
        helper.make_node("MatMul", ["rows", "output"], ["scores"]),
        helper.make_node("Add", ["scores", "output_bias"], ["logits"]),
    ]
    names = ("logits", "h_new", "c_new")
    results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * 3) for name in names]
    state = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, None, len(w_hh)]) for name in ("h", "c")]
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, [None, None])
    weights = [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "step", [ids, *state], results, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(model)
    return model


def _gates_in_onnx_order(columns: np.ndarray) -> np.ndarray:
    i, f, g, o = np.split(np.asarray(columns, np.float32), 4, axis=-1)
    return np.concatenate([i, o, f, g], axis=-1)
