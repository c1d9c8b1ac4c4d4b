"""The rivals against ours: the same mathematics, so the same logits and gradients."""

import pytest
import torch

from unrolled.bench.rivals import plain_loop_model, torch_model
from unrolled.config import ModelSettings
from unrolled.nn import LanguageModel


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("rival", [plain_loop_model, torch_model])
def test_a_rival_with_our_weights_gives_our_logits_and_gradients(rival, layers):
    generator = torch.Generator().manual_seed(1)
    ours = LanguageModel(ModelSettings(embedding_size=5, hidden_size=6, layers=layers), 11, generator)
    with torch.no_grad():
        for parameter in ours.parameters():  # no weight is zero
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    theirs = rival(ours)
    ids = torch.randint(11, (3, 7), generator=generator)
    logits, expected = ours(ids)[0], theirs(ids)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5)
    gradient = torch.autograd.grad(logits.logsumexp(-1).sum(), ours.embedding)[0]
    expected_gradient = torch.autograd.grad(expected.logsumexp(-1).sum(), theirs.embedding.weight)[0]
    torch.testing.assert_close(gradient, expected_gradient, rtol=0, atol=1e-5)
