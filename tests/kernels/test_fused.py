"""What is peculiar to the kernel whose backward pass is derived by hand."""

from __future__ import annotations

import pytest
import torch

from unrolled.kernels import FusedKernel, Projected, ReferenceKernel

H = 3


def leaves(values, dtype=torch.float64):
    generator = torch.Generator().manual_seed(5)
    T, B = values.shape[:2]
    w_hh = torch.randn(H, 4 * H, generator=generator, dtype=torch.float64)
    h0, c0 = torch.randn(2, B, H, generator=generator, dtype=torch.float64)
    weights = torch.randn(T, B, H, generator=generator, dtype=torch.float64)
    tensors = [tensor.to(dtype).requires_grad_() for tensor in (values, w_hh, h0, c0)]
    return tensors, weights.to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("size", [100.0, 1e4, 3e38])
def test_saturated_gates_equal_the_reference_and_are_never_nan(size, dtype):
    generator = torch.Generator().manual_seed(4)
    signs = torch.randint(0, 2, (12, 5, 4 * H), generator=generator, dtype=torch.float64) * 2 - 1
    signs[::3] *= torch.rand(4, 5, 4 * H, generator=generator, dtype=torch.float64) / size  # some steps in range
    tensors, weights = leaves(signs * size, dtype)
    results = []
    for kernel in (FusedKernel(), ReferenceKernel()):
        values, w_hh, h0, c0 = tensors
        h, h_last, c_last = kernel.run(Projected(values), w_hh, h0, c0)
        results.append((h, h_last, c_last, *torch.autograd.grad(h, tensors, weights)))
    for fused, reference in zip(*results, strict=True):
        assert fused.isfinite().all()
        atol = 100 * torch.finfo(dtype).eps * max(1, reference.detach().abs().max().item())
        torch.testing.assert_close(fused, reference, rtol=0, atol=atol)


def test_a_nan_is_passed_on_and_not_hidden():
    values = torch.zeros(3, 1, 4 * H, dtype=torch.float64)
    values[1, 0, 0] = torch.nan
    (values, w_hh, h0, c0), _ = leaves(values)
    h, _, c_last = FusedKernel().run(Projected(values), w_hh, h0, c0)
    assert h[0].isfinite().all()
    assert h[1, 0, 0].isnan()
    assert c_last.isnan().all()


def test_a_second_derivative_of_a_loss_is_refused_and_never_wrong():
    tensors, _ = leaves(torch.randn(4, 2, 4 * H, generator=torch.Generator().manual_seed(6), dtype=torch.float64))
    h, _, _ = FusedKernel().run(Projected(tensors[0]), *tensors[1:])
    (first,) = torch.autograd.grad((h**2).sum(), tensors[:1], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()
