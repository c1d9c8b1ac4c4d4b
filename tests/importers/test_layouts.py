"""Every layout gives the logits of the model that it was saved from; what matches none, or two, says so."""

import pytest
import torch

from tests.importers.elsewhere import (
    IDS,
    GateByGate,
    Stacked,
    awd_layout,
    example_layout,
    save_model,
    save_words,
    under,
    word_layout,
    words,
)
from unrolled import load
from unrolled.errors import UserError
from unrolled.importers import import_checkpoint

SIZES = [(11, 5, (7,)), (13, 7, (7, 7)), (29, 3, (17, 17, 17)), (12, 16, (4, 4))]


def imported(tmp_path, state, vocabulary=None):
    path = save_model(tmp_path / "from", state)
    save_words(path.parent, words(vocabulary or next(t.shape[0] for t in state.values() if t.ndim == 2)))
    import_checkpoint(path, tmp_path / "run")
    return load(tmp_path / "run", device="cpu")


def assert_same(model, ids, expected):
    with torch.no_grad():
        logits, _ = model.network(ids)
        torch.testing.assert_close(logits, expected(ids), atol=1e-5, rtol=1e-5)


def refusal(tmp_path, state):
    path = save_model(tmp_path / "from", state)
    with pytest.raises(UserError) as error:
        import_checkpoint(path, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("layout", [word_layout, example_layout, awd_layout])
def test_every_layout_gives_the_logits_of_torch(tmp_path, layout, sizes):
    model = Stacked(*sizes)
    state = layout(model)
    back = imported(tmp_path, state, sizes[0])
    assert_same(back, IDS % sizes[0], model)
    settings = back.settings.model
    assert (settings.embedding_size, settings.hidden_size, settings.layers) == (sizes[1], sizes[2][0], len(sizes[2]))


@pytest.mark.parametrize(("vocabulary", "embedding", "hidden"), [(11, 5, 7), (31, 8, 8), (12, 13, 3)])
def test_a_cell_gate_by_gate_gives_the_logits_of_its_equations(tmp_path, vocabulary, embedding, hidden):
    model = GateByGate(vocabulary, embedding, hidden)
    assert_same(imported(tmp_path, model.state, vocabulary), IDS, model)


def test_real_modules_of_torch_give_their_own_names(tmp_path):
    class Language(torch.nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(5)
            self.tokens = torch.nn.Embedding(14, 6)
            self.memory = torch.nn.LSTM(6, 9, num_layers=3, dropout=0.65)
            self.answer = torch.nn.Linear(9, 14)

        def forward(self, ids):
            return self.answer(self.memory(self.tokens(ids.t()))[0]).transpose(0, 1)

    model = Language().eval()
    back = imported(tmp_path, torch.nn.DataParallel(model).state_dict(), 14)
    assert_same(back, IDS, model)


@pytest.mark.parametrize("layout", [word_layout, example_layout, awd_layout])
def test_a_tied_model_stays_tied(tmp_path, layout):
    model = Stacked(12, 9, (9, 9), tied=True)
    back = imported(tmp_path, layout(model))
    assert back.settings.model.tying == "tied"
    assert back.network.parameter_count() == sum(p.numel() for p in model.parameters()) - 2 * 4 * 9  # one bias a layer
    assert_same(back, IDS, model)


def test_a_tied_model_that_was_saved_without_the_second_name_is_known_by_its_bias(tmp_path):
    model = Stacked(12, 9, (9,), tied=True)
    state = example_layout(model)
    del state["decoder.weight"]
    assert_same(imported(tmp_path, state), IDS, model)


def test_layers_of_different_sizes_are_padded_and_compute_the_same(tmp_path):
    model = Stacked(15, 4, (13, 11, 6))
    back = imported(tmp_path, awd_layout(model))
    assert back.settings.model.hidden_size == 13
    assert_same(back, IDS, model)


def test_a_tied_model_with_wider_layers_below_is_padded_too(tmp_path):
    model = Stacked(15, 6, (13, 13, 6), tied=True)  # the shape of AWD-LSTM: 400, 1150, 1150, 400
    back = imported(tmp_path, awd_layout(model))
    assert back.settings.model.tying == "separate"
    assert_same(back, IDS, model)


def test_units_of_padding_never_learn(tmp_path):
    network = imported(tmp_path, awd_layout(Stacked(15, 4, (13, 6)))).network
    loss, _ = network.loss_nats(IDS[:, :-1], IDS[:, 1:])
    loss.backward()
    gates = network.layers[1].w_hh.grad.view(13, 4, 13)
    assert gates[:6, :, :6].abs().sum() > 0
    assert gates[6:].abs().sum() == gates[:, :, 6:].abs().sum() == network.output_matrix.grad[:, 6:].abs().sum() == 0


def test_the_raw_weights_of_weight_dropout_are_the_ones_that_count(tmp_path):
    model = Stacked(11, 5, (7, 7))
    assert_same(imported(tmp_path, awd_layout(model, dropped=True)), IDS, model)


def test_fastai_wraps_awd_in_a_sequence_and_saves_the_embedding_twice(tmp_path):
    model = Stacked(11, 7, (7, 7), tied=True)
    state = awd_layout(model, dropped=True, prefix="0.")
    state["0.encoder_dp.emb.weight"] = state["0.encoder.weight"]
    state["1.decoder.weight"], state["1.decoder.bias"] = state.pop("0.decoder.weight"), state.pop("0.decoder.bias")
    assert_same(imported(tmp_path, state), IDS, model)


@pytest.mark.parametrize("prefix", ["module.", "model.", "_orig_mod.", "a.b.module."])
def test_a_prefix_changes_nothing(tmp_path, prefix):
    model = Stacked()
    assert_same(imported(tmp_path, word_layout(model, prefix)), IDS, model)


def test_separate_lstms_and_cells_with_numbers_stand_one_above_the_other(tmp_path):
    model = Stacked(11, 5, (7, 7))
    ends = under(("emb.weight", "head.weight", "head.bias"), model, home="unused.")
    ends = {name: tensor for name, tensor in ends.items() if "unused" not in name}
    one_by_one = {f"lstm{k + 1}.{part}_l0": tensor for (k, part), tensor in model.parts().items()}
    cells = {f"cells.{k}.{part}": tensor for (k, part), tensor in model.parts().items()}
    assert_same(imported(tmp_path / "lstms", {**ends, **one_by_one}), IDS, model)
    assert_same(imported(tmp_path / "cells", {**ends, **cells}), IDS, model)


def test_an_lstm_and_an_output_layer_without_bias(tmp_path):
    model = Stacked(11, 5, (7, 7), output_bias=False, lstm_bias=False)
    assert_same(imported(tmp_path, word_layout(model)), IDS, model)


def test_names_tell_the_ends_apart_where_neither_shape_nor_bias_does(tmp_path):
    model = Stacked(11, 7, (7,), output_bias=False)
    assert_same(imported(tmp_path, word_layout(model)), IDS, model)
    state = under(("a.weight", "b.weight"), model)
    assert "ambiguous" in (message := refusal(tmp_path / "unclear", state))
    assert "a.weight (11, 7)" in message
    assert "b.weight (11, 7)" in message


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_float32(tmp_path, dtype):
    model = Stacked().to(dtype)
    back = imported(tmp_path, word_layout(model))
    assert_same(back, IDS, model.float())


@pytest.mark.parametrize("wrapper", ["state_dict", "model_state_dict", "model", "net"])
def test_a_state_dict_inside_a_dict_with_the_rest_of_a_training(tmp_path, wrapper):
    model = Stacked()
    optimizer = torch.optim.Adam(model.parameters())
    model(IDS).sum().backward()
    optimizer.step()
    state = {wrapper: word_layout(model), "epoch": 3, "loss": 1.5, "optimizer": optimizer.state_dict(), "done": False}
    path = save_model(tmp_path / "from", state)
    save_words(path.parent, words(11))
    import_checkpoint(path, tmp_path / "run")
    assert_same(load(tmp_path / "run", device="cpu"), IDS, model)


REFUSALS = {
    "no lstm": (lambda s: {"weights": torch.zeros(3, 4), "bias": torch.zeros(3)}, ["no layout", "weights (3, 4)"]),
    "nothing": (lambda s: {}, ["an empty dict"]),
    "two lstms": (
        lambda s: {**s, **{f"other.{n.partition('.')[2]}": t for n, t in s.items() if n.startswith("lstm.")}},
        ["ambiguous", "'lstm.*'", "'other.*'"],
    ),
    "two layouts": (lambda s: {**s, **GateByGate().state}, ["ambiguous", "'cell*'", "'lstm.*'"]),
    "a layer missing": (
        lambda s: {name: t for name, t in s.items() if not name.endswith("_l0")},
        ["lstm.weight_ih_l0 is missing"],
    ),
    "a matrix missing": (
        lambda s: {name: t for name, t in s.items() if name != "lstm.weight_hh_l1"},
        ["lacks the weight_hh that belongs to lstm.weight_ih_l1"],
    ),
    "a bias missing": (
        lambda s: {name: t for name, t in s.items() if name != "lstm.bias_hh_l1"},
        ["lstm.bias_ih_l1 but not the other bias"],
    ),
    "a layer of another size": (
        lambda s: {**s, "lstm.weight_ih_l1": torch.zeros(28, 9)},
        ["lstm.weight_ih_l1 reads 9", "gives 7"],
    ),
    "a bias of another size": (lambda s: {**s, "lstm.bias_ih_l0": torch.zeros(27)}, ["(27,) and should be (28,)"]),
    "matrices that do not fit": (lambda s: {**s, "lstm.weight_ih_l0": torch.zeros(27, 5)}, ["do not fit together"]),
    "an empty layer": (
        lambda s: {**s, "lstm.weight_ih_l0": torch.zeros(0, 5), "lstm.weight_hh_l0": torch.zeros(0, 0)},
        ["do not fit together"],
    ),
    "an embedding of another size": (
        lambda s: {**s, "embedding.weight": torch.zeros(11, 6)},
        ["does not fit", "(V, 5)", "embedding.weight (11, 6)"],
    ),
    "another vocabulary at the end": (lambda s: {**s, "fc.weight": torch.zeros(12, 7)}, ["of the same V"]),
    "no output layer": (
        lambda s: {name: t for name, t in s.items() if not name.startswith("fc.")},
        ["does not fit", "embedding.weight (11, 5)"],
    ),
    "one layer too many": (lambda s: {**s, "norm.weight": torch.ones(7)}, ["no place", "norm.weight (7,)"]),
    "a GRU": (
        lambda s: {**s, "lstm.weight_ih_l0": torch.zeros(21, 5), "lstm.weight_hh_l0": torch.zeros(21, 7)},
        ["a GRU, not of an LSTM"],
    ),
    "a plain RNN": (
        lambda s: {**s, "lstm.weight_ih_l0": torch.zeros(7, 5), "lstm.weight_hh_l0": torch.zeros(7, 7)},
        ["a plain RNN"],
    ),
    "bidirectional": (lambda s: {**s, "lstm.weight_ih_l0_reverse": torch.zeros(28, 5)}, ["backwards too"]),
    "projected": (lambda s: {**s, "lstm.weight_hr_l0": torch.zeros(3, 7)}, ["proj_size"]),
    "weight norm": (lambda s: {**s, "lstm.weight_hh_l0_g": torch.zeros(28, 1)}, ["weight_norm"]),
    "65 layers": (
        lambda s: {
            **{name: t for name, t in s.items() if not name.startswith("lstm.")},
            **{f"lstm.{p}_l{k}": t for k in range(65) for p, t in _layer(5 if k == 0 else 7).items()},
        },
        ["model.layers = 65", "less than or equal to 64"],
    ),
}


def _layer(inputs):
    shapes = {"weight_ih": (28, inputs), "weight_hh": (28, 7), "bias_ih": (28,), "bias_hh": (28,)}
    return {part: torch.rand(shape) for part, shape in shapes.items()}


@pytest.mark.parametrize(("change", "expected"), REFUSALS.values(), ids=REFUSALS.keys())
def test_what_does_not_fit_says_what_was_found_and_what_was_expected(tmp_path, change, expected):
    message = refusal(tmp_path, change(word_layout(Stacked())))
    for phrase in expected:
        assert phrase in message


def test_a_gap_in_a_list_of_lstms_is_noticed(tmp_path):
    state = {name: t for name, t in awd_layout(Stacked(11, 7, (7, 7, 7))).items() if "rnns.1." not in name}
    assert "rnns.1 is missing" in refusal(tmp_path, state)


@pytest.mark.parametrize(
    ("name", "tensor", "expected"),
    [
        ("cell.W_f", torch.zeros(5, 7), "cell.W_f is (5, 7) and should be (7, 7)"),
        ("cell.b_o", torch.zeros(1, 7), "cell.b_o is (1, 7) and should be (7,)"),
        ("cell.U_g", None, "lacks U_g"),
    ],
)
def test_a_cell_whose_parts_do_not_fit(tmp_path, name, tensor, expected):
    state = {**GateByGate().state, name: tensor}
    assert expected in refusal(tmp_path, {n: t for n, t in state.items() if t is not None})
