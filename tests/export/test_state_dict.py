"""An exported model is what `torch.nn.LSTM` says it is, and comes back as it was."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from tests.decoding.own_part import sharing_weights
from unrolled.config import ModelSettings
from unrolled.errors import UserError
from unrolled.export import export_torch, torch_state_dict
from unrolled.importers import import_checkpoint
from unrolled.nn import LanguageModel
from unrolled.runs import read_weights
from unrolled.trained import load

IDS = torch.tensor([[1, 4, 0, 2, 2, 9, 3], [8, 0, 5, 6, 10, 1, 7]])
SIZES = [(11, 5, 7, 1, "separate"), (13, 7, 6, 2, "separate"), (12, 9, 9, 3, "tied")]


def model_of(vocabulary, embedding, hidden, layers, tying, seed=3):
    settings = ModelSettings(embedding_size=embedding, hidden_size=hidden, layers=layers, tying=tying)
    model = LanguageModel(settings, vocabulary, torch.Generator().manual_seed(seed))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(4)) * 0.3)
    return model


def opened(network):
    """What an exporter reads of a trained model."""
    return SimpleNamespace(network=network)


def part(state, name):
    return {key.removeprefix(name + "."): tensor for key, tensor in state.items() if key.startswith(name + ".")}


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_torch_loads_every_part_strictly_and_computes_the_same(tmp_path, sizes):
    model = model_of(*sizes)
    export_torch(opened(model), tmp_path / "out.pt")
    state = torch.load(tmp_path / "out.pt", weights_only=True)
    embedding, lstm = nn.Embedding(sizes[0], sizes[1]), nn.LSTM(sizes[1], sizes[2], sizes[3])
    linear = nn.Linear(sizes[2], sizes[0])
    for module, name in ((embedding, "embedding"), (lstm, "lstm"), (linear, "fc")):
        module.load_state_dict(part(state, name), strict=True)
    with torch.no_grad():
        expected = linear(lstm(embedding(IDS.t()))[0]).transpose(0, 1)
        torch.testing.assert_close(model(IDS)[0], expected, atol=1e-5, rtol=1e-5)
    assert {key.partition(".")[0] for key in state} == {"embedding", "lstm", "fc"}


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_what_was_exported_comes_back_bit_for_bit(tmp_path, sizes):
    model = model_of(*sizes)
    export_torch(opened(model), tmp_path / "out.pt")
    import_checkpoint(tmp_path / "out.pt", tmp_path / "run")
    back = load(tmp_path / "run", device="cpu").network.state_dict()
    assert back.keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(back[name], tensor), name


def test_an_exported_run_holds_its_best_weights(run, tmp_path, cli):
    done = cli("export", run, "--to", "torch", "--out", tmp_path / "out.pt")
    assert (done.status, done.out) == (0, "")
    assert str(run / "vocab.json") in done.err
    model = load(run, device="cpu")
    shapes = LanguageModel.shapes(model.settings.model, model.config.vocabulary_size)
    weights = read_weights(run / "model.safetensors", shapes, model.config.tokenizer_sha256).tensors
    state = torch.load(tmp_path / "out.pt", weights_only=True)
    assert torch.equal(state["lstm.weight_hh_l0"], weights["layers.0.w_hh"].t())
    assert torch.equal(state["fc.bias"], weights["output_bias"])


def test_tensors_of_an_export_share_no_memory_with_the_model():
    model = model_of(*SIZES[0])
    state = torch_state_dict(model)
    state["embedding.weight"].zero_()
    state["lstm.bias_ih_l0"].zero_()
    assert model.embedding.abs().sum() > 0
    assert model.layers[0].bias.abs().sum() > 0


def test_a_file_that_stands_there_is_kept_unless_forced(tmp_path):
    path = tmp_path / "out.pt"
    path.write_text("mine")
    with pytest.raises(UserError, match=r"exists already; .* or use --force"):
        export_torch(opened(model_of(*SIZES[0])), path)
    assert path.read_text() == "mine"
    export_torch(opened(model_of(*SIZES[0])), path, force=True)
    assert "fc.bias" in torch.load(path, weights_only=True)


def test_a_folder_is_never_replaced_and_a_missing_one_is_named(tmp_path):
    with pytest.raises(UserError, match="choose another name"):
        export_torch(opened(model_of(*SIZES[0])), tmp_path, force=True)
    with pytest.raises(UserError, match="cannot be written"):
        export_torch(opened(model_of(*SIZES[0])), tmp_path / "none" / "out.pt")


def test_a_model_with_a_part_that_the_format_does_not_hold_is_refused(run, tmp_path):
    model = load(run, device="cpu")
    model.network = sharing_weights(model.network)
    with pytest.raises(UserError, match=r"torch\.nn\.LSTM.*extra\.weight"):
        export_torch(model, tmp_path / "out.pt")
    assert not (tmp_path / "out.pt").exists()


def test_a_layer_that_computes_differently_is_refused(tmp_path):
    model = model_of(*SIZES[0])
    model.layers[0].forward = model.layers[0].forward
    with pytest.raises(UserError, match=r"layers\.0 \(LSTMLayer\)"):
        export_torch(opened(model), tmp_path / "out.pt")
