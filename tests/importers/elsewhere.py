"""Models as others write them, in PyTorch's own modules, and the files that they save: what imports are compared with.

All sizes differ, and all weights are random.
"""

import pickle
from pathlib import Path

import torch
from torch import nn

IDS = torch.tensor([[1, 4, 0, 2, 2, 9, 3], [8, 0, 5, 6, 10, 1, 7]])  # (B, T), for vocabularies of 11 and more
V, E, H = 11, 5, 7


class Stacked(nn.Module):
    """An embedding, LSTMs of these hidden sizes one above the other, and a linear layer."""

    def __init__(self, vocabulary=V, embedding=E, hidden=(H, H), tied=False, output_bias=True, lstm_bias=True, seed=1):
        super().__init__()
        torch.manual_seed(seed)
        self.embedding = nn.Embedding(vocabulary, embedding)
        inputs = [embedding, *hidden[:-1]]
        self.lstms = nn.ModuleList(nn.LSTM(i, h, bias=lstm_bias) for i, h in zip(inputs, hidden, strict=True))
        self.fc = nn.Linear(hidden[-1], vocabulary, bias=output_bias)
        if tied:
            self.fc.weight = self.embedding.weight

    def forward(self, ids):
        """Logits (B, T, V) of ids (B, T)."""
        x = self.embedding(ids.t())
        for lstm in self.lstms:
            x, _ = lstm(x)
        return self.fc(x).transpose(0, 1)

    def parts(self):
        """Return every weight of every layer by (layer, name of `nn.LSTM` without the layer)."""
        return {
            (k, name.removesuffix("_l0")): weight.detach().clone()
            for k, lstm in enumerate(self.lstms)
            for name, weight in lstm.state_dict().items()
        }

    def ends(self):
        """Return embedding, output weight and, where there is one, output bias."""
        found = [self.embedding.weight.detach(), self.fc.weight.detach()]
        return found if self.fc.bias is None else [*found, self.fc.bias.detach()]


def under(names, model, *, home="lstm.", prefix=""):
    """Return the state dict of one `nn.LSTM` called `home`, with these names for the ends."""
    state = {prefix + name: tensor for name, tensor in zip(names, model.ends(), strict=False)}
    for (k, part), tensor in model.parts().items():
        state[f"{prefix}{home}{part}_l{k}"] = tensor
    return state


def word_layout(model, prefix=""):
    """The names of the word model that this project begins with."""
    return under(("embedding.weight", "fc.weight", "fc.bias"), model, prefix=prefix)


def example_layout(model, prefix=""):
    """The names of PyTorch's word_language_model."""
    return under(("encoder.weight", "decoder.weight", "decoder.bias"), model, home="rnn.", prefix=prefix)


def awd_layout(model, dropped=False, prefix="", wrapped="module."):
    """The names of AWD-LSTM; `dropped` adds the copy of the recurrent weights that weight dropout leaves behind."""
    names = ("encoder.weight", "decoder.weight", "decoder.bias")
    state = {prefix + name: tensor for name, tensor in zip(names, model.ends(), strict=False)}
    for (k, part), tensor in model.parts().items():
        home = f"{prefix}rnns.{k}.{wrapped}"
        state[f"{home}{part}_l0" + ("_raw" if part == "weight_hh" else "")] = tensor
        if part == "weight_hh" and dropped:
            state[f"{home}weight_hh_l0"] = tensor * (torch.rand(tensor.shape) > 0.5)
    return state


class GateByGate:
    """A cell with a matrix for each gate, computed step by step from its equations."""

    def __init__(self, vocabulary=V, embedding=E, hidden=H, seed=2):
        generator = torch.Generator().manual_seed(seed)

        def random(*shape):
            return torch.randn(*shape, generator=generator) * 0.4

        self.state = {"emb.weight": random(vocabulary, embedding)}
        for gate in "ifgo":
            self.state[f"cell.W_{gate}"] = random(hidden, hidden)
            self.state[f"cell.U_{gate}"] = random(embedding, hidden)
            self.state[f"cell.b_{gate}"] = random(hidden)
        self.state["fc.weight"] = random(vocabulary, hidden)
        self.state["fc.bias"] = random(vocabulary)

    def __call__(self, ids):
        """Logits (B, T, V) of ids (B, T), one row and one step at a time."""
        return torch.stack([torch.stack(list(self._row(row.tolist()))) for row in ids])

    def _row(self, row):
        s = self.state
        h = c = torch.zeros(s["cell.b_i"].shape)
        for token in row:
            x = s["emb.weight"][token]
            a = {g: x @ s[f"cell.U_{g}"] + h @ s[f"cell.W_{g}"] + s[f"cell.b_{g}"] for g in "ifgo"}
            c = torch.sigmoid(a["f"]) * c + torch.sigmoid(a["i"]) * torch.tanh(a["g"])
            h = torch.sigmoid(a["o"]) * torch.tanh(c)
            yield s["fc.weight"] @ h + s["fc.bias"]


def save_model(folder: Path, state, name="model.pt") -> Path:
    """Write what `torch.save` makes of it, and return the path."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(state, folder / name)
    return folder / name


def save_words(folder: Path, words, name="vocab.pkl") -> Path:
    """Write a pickled list of words, and return the path."""
    (folder / name).write_bytes(pickle.dumps(words))
    return folder / name


def words(count):
    """Return a vocabulary as the word model has it."""
    return ["<unk>", "<eos>", *(f"w{index}" for index in range(2, count))]
