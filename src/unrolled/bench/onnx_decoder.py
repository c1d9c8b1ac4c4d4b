"""The same model as a decoder on ONNX Runtime, a rival in `generation` where `onnx` and `onnxruntime` are installed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from unrolled.decoding import Layer, NumpyState
from unrolled.export.onnx import onnx_graph


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
        graph = onnx_graph(embedding, layers, output_weight, output_bias).SerializeToString()
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
