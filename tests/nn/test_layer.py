"""A layer against torch.nn.LSTM, input weights and bias included."""

from __future__ import annotations

import math

import pytest
import torch

from unrolled.kernels import FusedKernel, ReferenceKernel
from unrolled.nn import LSTMLayer
from unrolled.nn.dropout import Dropout

T, B, I, H, V = 12, 3, 4, 5, 7


def random_layer() -> LSTMLayer:
    generator = torch.Generator().manual_seed(1)
    layer = LSTMLayer(I, H, generator).double()
    with torch.no_grad():
        layer.bias.add_(torch.randn(4 * H, generator=generator, dtype=torch.float64))
    return layer


@pytest.mark.parametrize("kernel", [ReferenceKernel(), FusedKernel()], ids=lambda kernel: kernel.name)
@pytest.mark.parametrize("kind", ["projected", "embedded"])
def test_outputs_and_the_gradients_of_inputs_weights_and_bias_equal_torch(kernel, kind):
    layer, generator = random_layer(), torch.Generator().manual_seed(2)
    embedding = torch.randn(V, I, generator=generator, dtype=torch.float64, requires_grad=True)
    ids = torch.randint(V, (T, B), generator=generator)
    h0, c0 = torch.randn(2, B, H, generator=generator, dtype=torch.float64).requires_grad_()
    weights = torch.randn(T, B, H, generator=generator, dtype=torch.float64)

    inputs = layer.dense_input(embedding[ids]) if kind == "projected" else layer.token_input(embedding, ids)
    h, h_last, c_last = layer(inputs, h0, c0, kernel)
    leaves = embedding, layer.w_ih, layer.w_hh, layer.bias, h0, c0
    gradients = torch.autograd.grad((h, h_last, c_last), leaves, (weights, weights[0], weights[1]))

    lstm = torch.nn.LSTM(I, H).double()
    parts = {"weight_ih_l0": layer.w_ih.t(), "weight_hh_l0": layer.w_hh.t()}
    parts |= {"bias_ih_l0": layer.bias, "bias_hh_l0": torch.zeros_like(layer.bias)}
    expected = torch.func.functional_call(lstm, parts, (embedding[ids], (h0.unsqueeze(0), c0.unsqueeze(0))))
    flat = expected[0], expected[1][0][0], expected[1][1][0]
    expected_gradients = torch.autograd.grad(flat, leaves, (weights, weights[0], weights[1]))

    for one, other in zip((h, h_last, c_last, *gradients), (*flat, *expected_gradients), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


def test_the_initial_weights_come_from_the_generator_alone():
    torch.manual_seed(1)
    first = LSTMLayer(I, H, torch.Generator().manual_seed(3)).state_dict()
    torch.manual_seed(2)
    second = LSTMLayer(I, H, torch.Generator().manual_seed(3)).state_dict()
    other = LSTMLayer(I, H, torch.Generator().manual_seed(4)).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["w_hh"], other["w_hh"])


def test_the_forget_gate_starts_open():
    i, f, g, o = LSTMLayer(40, 64).bias.detach().chunk(4)
    assert f.eq(1).all()
    assert not torch.cat((i, g, o)).any()


@pytest.mark.parametrize(
    ("initialization", "input_bound", "recurrent_bound"),
    [("uniform", 1 / 8, 1 / 8), ("glorot", math.sqrt(6 / (40 + 64)), math.sqrt(6 / (64 + 64)))],
)
def test_the_initial_weights_fill_their_bound(initialization, input_bound, recurrent_bound):
    layer = LSTMLayer(40, 64, torch.Generator().manual_seed(5), initialization)
    for weight, bound in ((layer.w_ih, input_bound), (layer.w_hh, recurrent_bound)):
        assert 0.99 * bound < weight.abs().max().item() <= bound * (1 + 1e-6)
        deviation = bound / math.sqrt(3 * weight.numel())  # of the mean of as many uniform numbers
        assert abs(weight.mean().item()) < 6 * deviation


def test_orthogonal_recurrent_weights_keep_every_length_gate_by_gate():
    layer = LSTMLayer(40, 64, torch.Generator().manual_seed(5), "orthogonal")
    for gate in layer.w_hh.detach().chunk(4, dim=1):
        torch.testing.assert_close(gate @ gate.t(), torch.eye(64), rtol=0, atol=1e-5)
    glorot = LSTMLayer(40, 64, torch.Generator().manual_seed(5), "glorot")
    assert torch.equal(layer.w_ih, glorot.w_ih)  # 40 by 64 is no rotation
    first, second = layer.w_hh.detach()[:, :64], layer.w_hh.detach()[:, 64:128]
    assert not torch.equal(first, second)


def test_a_layer_drops_from_its_output_and_nothing_from_its_state():
    layer, kernel = random_layer(), FusedKernel()
    x = torch.randn(T, B, I, dtype=torch.float64, generator=torch.Generator().manual_seed(6))
    h0, c0 = torch.randn(2, B, H, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    whole = layer(layer.dense_input(x), h0, c0, kernel)
    dropout, draws = Dropout(0.4, "locked"), torch.Generator().manual_seed(8)
    dropped = layer(layer.dense_input(x), h0, c0, kernel, dropout, draws)
    assert torch.equal(dropped[0], dropout.apply(whole[0], torch.Generator().manual_seed(8)))
    assert (dropped[0] == 0).any()
    assert torch.equal(torch.stack(dropped[1:]), torch.stack(whole[1:]))
    evaluated = layer(layer.dense_input(x), h0, c0, kernel, dropout)
    assert torch.equal(evaluated[0], whole[0])
