"""The textbook's cell against torch.nn.LSTMCell, and against the layers that are made of it."""

from __future__ import annotations

import torch

from unrolled.kernels import FusedKernel, lstm_step
from unrolled.nn import LSTMCell, LSTMLayer

B, I, H = 3, 4, 5


def random_cell() -> LSTMCell:
    generator = torch.Generator().manual_seed(1)
    cell = LSTMCell(I, H, generator).double()
    with torch.no_grad():
        cell.bias.add_(torch.randn(4 * H, generator=generator, dtype=torch.float64))
    return cell


def random_step() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    sizes = (B, I), (B, H), (B, H)
    return tuple(torch.randn(*size, generator=generator, dtype=torch.float64, requires_grad=True) for size in sizes)


def test_a_step_and_its_gradients_equal_torch():
    cell, (x, h, c) = random_cell(), random_step()
    theirs = torch.nn.LSTMCell(I, H).double()
    parts = {"weight_ih": cell.w_ih.t(), "weight_hh": cell.w_hh.t(), "bias_ih": cell.bias}
    parts["bias_hh"] = torch.zeros_like(cell.bias)
    leaves = x, h, c, cell.w_ih, cell.w_hh, cell.bias
    weights = torch.randn(2, B, H, generator=torch.Generator().manual_seed(3), dtype=torch.float64).unbind()
    results = [cell(x, h, c), torch.func.functional_call(theirs, parts, (x, (h, c)))]
    ours, expected = ((*result, *torch.autograd.grad(result, leaves, weights)) for result in results)
    for one, other in zip(ours, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_a_cell_and_a_layer_with_the_same_weights_compute_the_same_numbers():
    cell, (_, h, c) = random_cell(), random_step()
    layer = LSTMLayer(I, H).double()
    layer.load_state_dict(cell.state_dict())
    xs = torch.randn(9, B, I, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    with torch.no_grad():
        outputs, h_last, c_last = layer(layer.dense_input(xs), h, c, FusedKernel())
        for x, output in zip(xs, outputs, strict=True):
            by_step = lstm_step(layer.dense_input(x.unsqueeze(0)).pre_activations().step(0), layer.w_hh, h, c)
            h, c = cell(x, h, c)
            torch.testing.assert_close(by_step, (h, c), rtol=0, atol=1e-12)
            torch.testing.assert_close(output, h, rtol=0, atol=1e-12)
    torch.testing.assert_close((h_last, c_last), (h, c), rtol=0, atol=1e-12)
