"""The language model against one put together from torch.nn.Embedding, LSTM and Linear."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from unrolled.config import ModelSettings
from unrolled.kernels import FusedKernel, ReferenceKernel
from unrolled.nn import LanguageModel, State
from unrolled.nn.model import SAVED_NAMES

B, T, E, H = 3, 8, 5, 6
SMALL, LARGE = 11, 29  # vocabularies below and above the 24 tokens of a batch


class TorchModel(nn.Module):
    """The same model from PyTorch's own modules, with the weights of ours."""

    def __init__(self, ours: LanguageModel):
        super().__init__()
        V, settings = ours.vocabulary_size, ours.settings
        self.embedding = nn.Embedding(V, settings.embedding_size)
        self.lstm = nn.LSTM(settings.embedding_size, settings.hidden_size, settings.layers, batch_first=True)
        self.output = nn.Linear(settings.hidden_size, V)
        self.double().load_state_dict(self.named(ours.state_dict()))

    @staticmethod
    def named(ours: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Translate our weights, or their gradients, to torch's names and layout."""
        theirs = {"embedding.weight": ours["embedding"]}
        theirs |= {"output.weight": ours.get("output_weight", ours["embedding"]), "output.bias": ours["output_bias"]}
        for k in range(sum(name.endswith("w_hh") for name in ours)):
            theirs[f"lstm.weight_ih_l{k}"] = ours[f"layers.{k}.w_ih"].t()
            theirs[f"lstm.weight_hh_l{k}"] = ours[f"layers.{k}.w_hh"].t()
            theirs[f"lstm.bias_ih_l{k}"] = ours[f"layers.{k}.bias"]
            theirs[f"lstm.bias_hh_l{k}"] = torch.zeros_like(ours[f"layers.{k}.bias"])
        return theirs

    def forward(self, ids: torch.Tensor, state: State) -> tuple[torch.Tensor, State]:
        h, after = self.lstm(self.embedding(ids), tuple(state))
        return self.output(h), State(*after)


def saved_name(name: str) -> str:
    return SAVED_NAMES.get(name, name)


def random_model(vocabulary: int = SMALL, layers: int = 1, kernel=None, **settings) -> LanguageModel:
    generator = torch.Generator().manual_seed(vocabulary + layers)
    settings = ModelSettings(**{"embedding_size": E, "hidden_size": H, "layers": layers, **settings})
    model = LanguageModel(settings, vocabulary, generator, kernel).double()
    with torch.no_grad():
        for parameter in model.parameters():  # no weight is zero
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return model


def random_ids(vocabulary: int, length: int = T) -> torch.Tensor:
    return torch.randint(vocabulary, (B, length), generator=torch.Generator().manual_seed(3))


def random_state(layers: int) -> State:
    generator = torch.Generator().manual_seed(4)
    return State(*(torch.randn(layers, B, H, generator=generator, dtype=torch.float64) for _ in range(2)))


def assert_same(one: tuple, other: tuple, atol: float = 1e-10) -> None:
    torch.testing.assert_close(tuple(one), tuple(other), rtol=0, atol=atol)


@pytest.mark.parametrize("kernel", [ReferenceKernel(), FusedKernel()], ids=lambda kernel: kernel.name)
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("vocabulary", [SMALL, LARGE])
def test_logits_state_loss_and_all_gradients_equal_a_model_of_torch(vocabulary, layers, kernel):
    model = random_model(vocabulary, layers, kernel)
    theirs, ids, state = TorchModel(model), random_ids(vocabulary, T + 1), random_state(layers)
    inputs, targets = ids[:, :-1], ids[:, 1:]
    logits, after = model(inputs, state)
    expected, expected_after = theirs(inputs, state)
    assert_same((logits, *after), (expected, *expected_after))

    loss, after_loss = model.loss_nats(inputs, targets, state)
    expected_loss = nn.functional.cross_entropy(expected.flatten(0, 1), targets.flatten(), reduction="sum")
    assert_same((loss, *after_loss), (expected_loss, *expected_after))
    loss.backward()
    expected_loss.backward()
    gradients = TorchModel.named({saved_name(name): p.grad for name, p in model.named_parameters()})
    for name, parameter in theirs.named_parameters():
        if "bias_hh" not in name:
            torch.testing.assert_close(gradients[name], parameter.grad, rtol=0, atol=1e-10)


@pytest.mark.parametrize("vocabulary", [SMALL, LARGE])
def test_tied_weights_are_embedding_and_output_layer_at_once_and_get_the_gradients_of_both(vocabulary):
    model = random_model(vocabulary, 2, embedding_size=H, tying="tied")
    assert "output_weight" not in model.state_dict()
    theirs, ids, state = TorchModel(model), random_ids(vocabulary, T + 1), random_state(2)
    loss, _ = model.loss_nats(ids[:, :-1], ids[:, 1:], state)
    logits, _ = theirs(ids[:, :-1], state)
    expected = nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="sum")
    assert_same((loss,), (expected,))
    loss.backward()
    expected.backward()
    both = theirs.embedding.weight.grad + theirs.output.weight.grad
    torch.testing.assert_close(model.embedding.grad, both, rtol=0, atol=1e-10)


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("cut", [1, 3, 7])
def test_state_carried_across_chunks_equals_one_long_sequence(layers, cut):
    model, ids = random_model(layers=layers), random_ids(SMALL)
    whole, expected_after = model(ids)
    first, state = model(ids[:, :cut])
    second, after = model(ids[:, cut:], state)
    assert_same((torch.cat((first, second), dim=1), *after), (whole, *expected_after))


def test_no_state_is_a_state_of_zeros():
    model, ids = random_model(layers=2), random_ids(SMALL)
    given = model(ids, State(*torch.zeros(2, 2, B, H, dtype=torch.float64)))
    assert_same((model(ids)[0], *model(ids)[1]), (given[0], *given[1]), atol=0)


def test_rows_of_a_batch_do_not_see_each_other():
    model, ids, state = random_model(layers=2), random_ids(SMALL), random_state(2)
    together, _ = model(ids, state)
    for row in range(B):
        alone, _ = model(ids[row : row + 1], state.select(torch.tensor([row])))
        assert_same(alone, together[row : row + 1])


def test_the_state_that_is_given_stays_as_it_was():
    model, state = random_model(layers=2), random_state(2)
    before = [part.clone() for part in state]
    model.loss_nats(random_ids(SMALL), random_ids(SMALL), state)[0].backward()
    assert_same(state, before, atol=0)


def test_the_loss_is_a_sum_of_negative_log_softmax_in_nats():
    model, ids, state = random_model(), random_ids(SMALL, T + 1), random_state(1)
    inputs, targets = ids[:, :-1], ids[:, 1:]
    logits, _ = model(inputs, state)
    expected = 0.0
    for row in range(B):
        for t in range(T):
            scores = logits[row, t].tolist()
            expected += math.log(sum(math.exp(score) for score in scores)) - scores[targets[row, t]]
    loss, _ = model.loss_nats(inputs, targets, state)
    assert loss.item() == pytest.approx(expected, abs=1e-10)


def test_hidden_states_come_with_time_first():
    model, ids = random_model(), random_ids(SMALL)
    h, _ = model.hidden(ids.t())
    assert h.shape == (T, B, H)
    assert_same(model.logits(h).transpose(0, 1), model(ids)[0])


@pytest.mark.parametrize(
    "settings",
    [{}, {"layers": 3}, {"embedding_size": H, "tying": "tied"}, {"embedding_size": H, "initialization": "orthogonal"}],
)
def test_the_shapes_are_those_of_the_weights(settings):
    model = random_model(**settings)
    shapes = LanguageModel.shapes(model.settings, SMALL)
    assert shapes == {name: weight.shape for name, weight in model.state_dict().items()}


@pytest.mark.parametrize("tying", ["separate", "tied"])
def test_weights_keep_the_names_and_the_order_of_the_first_format(tying):
    model = random_model(layers=2, embedding_size=H, tying=tying)
    ends = ["embedding", *(["output_weight"] if tying == "separate" else []), "output_bias"]
    names = [*ends, *(f"layers.{k}.{name}" for k in range(2) for name in ("w_ih", "w_hh", "bias"))]
    assert model.state_dict().keys() == set(names)
    # a checkpoint's optimiser knows the parameters by their place in this order alone
    assert [saved_name(name) for name, _ in model.named_parameters()] == names


@pytest.mark.parametrize("assign", [False, True])
def test_weights_that_are_saved_inside_a_wrapper_are_loaded_again(assign):
    wrapped, other = nn.ModuleDict({"m": random_model(layers=2)}), nn.ModuleDict({"m": random_model(layers=2)})
    with torch.no_grad():
        other["m"].embedding.zero_()
        other["m"].output_matrix.zero_()
    saved = wrapped.state_dict()
    assert {"m.embedding", "m.output_weight", "m.output_bias"} < saved.keys()
    other.load_state_dict(saved, assign=assign)
    assert_same((other["m"](random_ids(SMALL))[0],), (wrapped["m"](random_ids(SMALL))[0],), atol=0)


def test_weights_that_are_missing_or_unknown_are_refused():
    model = random_model()
    for changed in ({}, {"more": torch.ones(2)}):
        weights = {name: tensor for name, tensor in model.state_dict().items() if name != "output_bias"}
        with pytest.raises(RuntimeError, match=r"output\.bias"):
            model.load_state_dict({**weights, **changed})


def test_shapes_of_a_model_of_terabytes_cost_nothing():
    huge = ModelSettings(embedding_size=16_384, hidden_size=16_384, layers=64)
    shapes = LanguageModel.shapes(huge, 10_000_000)
    assert shapes["embedding"] == (10_000_000, 16_384)
    assert sum(shape.numel() for shape in shapes.values()) > 10**11


@pytest.mark.parametrize(("V", "E", "H", "L"), [(90, 64, 256, 1), (11, 5, 6, 3), (2, 1, 1, 1)])
def test_the_parameter_count_follows_the_formula(V, E, H, L):
    model = LanguageModel(ModelSettings(embedding_size=E, hidden_size=H, layers=L), V)
    first, other = 4 * H * (E + H + 1), 4 * H * (H + H + 1)
    assert model.parameter_count() == V * E + first + (L - 1) * other + V * (H + 1)


def test_the_same_generator_gives_the_same_weights_whatever_the_global_seed():
    settings = ModelSettings(embedding_size=E, hidden_size=H, layers=2)
    models = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        models.append(LanguageModel(settings, SMALL, torch.Generator().manual_seed(7)))
    first, second = (model.state_dict() for model in models)
    assert all(torch.equal(first[name], second[name]) for name in first)


class Capped(LanguageModel):
    """Overrides the logits and nothing else."""

    def logits(self, h):
        return torch.tanh(super().logits(h)) / 3


@pytest.mark.parametrize("where", ["class", "object"])
def test_a_model_whose_logits_are_its_own_is_trained_on_what_it_predicts(where):
    settings = ModelSettings(embedding_size=3, hidden_size=5, layers=2)
    model = (Capped if where == "class" else LanguageModel)(settings, 7, torch.Generator().manual_seed(1))
    if where == "object":
        model.logits = lambda h: torch.tanh(LanguageModel.logits(model, h)) / 3
    ids = torch.randint(7, (2, 6), generator=torch.Generator().manual_seed(2))
    loss, _ = model.loss_nats(ids[:, :-1], ids[:, 1:], scale=0.1)
    logits = model(ids[:, :-1])[0]
    expected = 0.1 * functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="sum")
    parameters = list(model.parameters())
    found, needed = ((value, *torch.autograd.grad(value, parameters)) for value in (loss, expected))
    for one, other in zip(found, needed, strict=True):
        torch.testing.assert_close(one, other)
