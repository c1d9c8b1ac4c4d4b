"""The kinds of output layer against torch.nn.Linear and its cross-entropy."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from unrolled.config import ModelSettings
from unrolled.kernels import FusedKernel
from unrolled.kernels.softmax import IGNORED
from unrolled.nn import LanguageModel
from unrolled.nn.embedding import TokenEmbedding
from unrolled.nn.output import TIED_BOUND, MatrixOutput, SeparateOutput, TiedOutput, make_output_layer

N, H, V = 13, 5, 7
KINDS = {"separate": SeparateOutput, "tied": TiedOutput}


def generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def output_and_embedding(tying: str):
    embedding = TokenEmbedding(V, H, generator()).double()
    settings = ModelSettings(embedding_size=H, hidden_size=H, tying=tying)
    output = make_output_layer(settings, embedding, generator(2)).double()
    with torch.no_grad():
        output.bias.normal_(generator=generator(3))
    return output, embedding


@pytest.mark.parametrize("tying", KINDS)
def test_logits_loss_and_gradients_equal_a_linear_layer_of_torch(tying):
    output, embedding = output_and_embedding(tying)
    assert type(output) is KINDS[tying]
    h = torch.randn(N, H, dtype=torch.float64, generator=generator(4), requires_grad=True)
    targets = torch.randint(V, (N,), generator=generator(5))
    matrix = embedding.weight if tying == "tied" else output.weight
    expected = functional.linear(h, matrix, output.bias)
    torch.testing.assert_close(output.logits(h, embedding.weight), expected, rtol=0, atol=1e-12)

    leaves = h, matrix, output.bias
    loss = output.summed_cross_entropy(h, targets, embedding.weight, FusedKernel(), 0.25)
    expected_loss = 0.25 * functional.cross_entropy(expected, targets, reduction="sum")
    ours, theirs = ((value, *torch.autograd.grad(value, leaves)) for value in (loss, expected_loss))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_a_tied_layer_holds_its_bias_alone_and_starts_the_embedding_small():
    output, embedding = output_and_embedding("tied")
    assert [name for name, _ in output.named_parameters()] == ["bias"]
    assert 0.5 * TIED_BOUND < embedding.weight.abs().max().item() <= TIED_BOUND


def test_logits_of_any_leading_shape():
    output, embedding = output_and_embedding("separate")
    h = torch.randn(2, 3, H, dtype=torch.float64, generator=generator(6))
    assert torch.equal(output.logits(h, embedding.weight)[1, 2], output.logits(h[1, 2], embedding.weight))


class ProjectedOutput(MatrixOutput):
    """Tied, with hidden states projected to the size of the embedding."""

    def __init__(self, vocabulary_size: int, hidden_size: int, embedding_size: int):
        super().__init__()
        self.projection = nn.Parameter(torch.randn(hidden_size, embedding_size, generator=generator(7)))
        self.bias = nn.Parameter(torch.randn(vocabulary_size, generator=generator(8)))

    def matrix(self, embedding: Tensor) -> Tensor:
        return embedding @ self.projection.t()


def test_another_kind_of_output_layer_is_one_class_and_the_model_follows():
    model = LanguageModel(ModelSettings(embedding_size=3, hidden_size=H), V, generator()).double()
    model.output = ProjectedOutput(V, H, 3).double()
    ids = torch.randint(V, (2, 9), generator=generator(9))
    inputs, targets = ids[:, :-1], ids[:, 1:]
    h = model.hidden(inputs.t())[0].transpose(0, 1)
    expected = functional.linear(h @ model.output.projection, model.embedding, model.output.bias)
    torch.testing.assert_close(model(inputs)[0], expected, rtol=0, atol=1e-12)

    expected_loss = functional.cross_entropy(expected.flatten(0, 1), targets.flatten(), reduction="sum")
    loss = model.loss_nats(inputs, targets)[0]
    parameters = list(model.parameters())
    ours, theirs = ((value, *torch.autograd.grad(value, parameters)) for value in (loss, expected_loss))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
    assert {"embedding", "output_bias", "output.projection"} < model.state_dict().keys()
    model.load_state_dict(model.state_dict())


def test_a_kind_that_overrides_the_logits_alone_is_trained_on_the_loss_of_its_logits():
    class Colder(SeparateOutput):
        def logits(self, h, embedding):
            return 0.5 * super().logits(h, embedding)

    output, embedding = Colder(V, H, generator()).double(), TokenEmbedding(V, H, generator()).double()
    h = torch.randn(N, H, dtype=torch.float64, generator=generator(4))
    targets = torch.randint(V, (N,), generator=generator(5))
    targets[::4] = IGNORED
    loss = output.summed_cross_entropy(h, targets, embedding.weight, FusedKernel(), 0.25)
    logits = output.logits(h, embedding.weight)
    expected = 0.25 * functional.cross_entropy(logits, targets, reduction="sum", ignore_index=IGNORED)
    torch.testing.assert_close(loss, expected, rtol=0, atol=1e-12)
