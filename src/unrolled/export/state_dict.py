"""A model as a plain state dict of `torch.nn.Embedding`, `torch.nn.LSTM` and `torch.nn.Linear`.

    embedding.weight (V, E)    lstm.weight_ih_l{k} (4H, E or H)    lstm.weight_hh_l{k} (4H, H)
    lstm.bias_ih_l{k}, lstm.bias_hh_l{k} (4H,)    fc.weight (V, H)    fc.bias (V,)

PyTorch has the same order of gates, i f g o, transposed matrices, and two biases that it adds: ours is the first one,
the second one is zero.
"""

from __future__ import annotations

import io
from collections import OrderedDict
from pathlib import Path

import torch
from torch import Tensor

from unrolled.decoding.weights import unknown_parts
from unrolled.errors import UserError
from unrolled.nn import LanguageModel
from unrolled.runs import write_atomically
from unrolled.trained import TrainedModel


def export_torch(model: TrainedModel, out: str | Path, force: bool = False) -> None:
    """Write a model as a `.pt` file that `torch.load(out, weights_only=True)` reads.

    Args:
        model: a trained model, made by `unrolled.load`.
        out: the file to write.
        force: replace an existing file.

    Raises:
        UserError: the file exists or cannot be written, or the model has parts that the format does not hold.
    """
    path = Path(out)
    if path.is_dir() or (path.exists() and not force):
        way_out = "choose another name with --out" if path.is_dir() else "choose another with --out, or use --force"
        raise UserError(f"{path} exists already; {way_out}.")
    content = io.BytesIO()
    torch.save(torch_state_dict(model.network), content)
    write_atomically(path, content.getvalue())


def torch_state_dict(network: LanguageModel) -> OrderedDict[str, Tensor]:
    """Return the weights by PyTorch's names, on the CPU.

    Raises:
        UserError: the model has a part that those names leave out; without it, another tool computes something else.
    """
    if unknown := unknown_parts(network):
        raise UserError(
            f"The model has parts that torch.nn.Embedding, torch.nn.LSTM and torch.nn.Linear do not have: "
            f"{', '.join(unknown)}; use it as a run, or write an exporter that knows them."
        )
    state: OrderedDict[str, Tensor] = OrderedDict()
    state["embedding.weight"] = _plain(network.embedding)
    for k, layer in enumerate(network.layers):
        state[f"lstm.weight_ih_l{k}"] = _plain(layer.w_ih.t())
        state[f"lstm.weight_hh_l{k}"] = _plain(layer.w_hh.t())
        state[f"lstm.bias_ih_l{k}"] = _plain(layer.bias)
        state[f"lstm.bias_hh_l{k}"] = torch.zeros_like(state[f"lstm.bias_ih_l{k}"])
    state["fc.weight"] = _plain(network.output_matrix)
    state["fc.bias"] = _plain(network.output_bias)
    return state


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
