"""What is peculiar to the kernel whose backward pass is derived by hand."""

from __future__ import annotations

import pytest
import torch

from unrolled.kernels import FusedKernel, PreActivations, PreActivationTable, ReferenceKernel, fused

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
        h, h_last, c_last = kernel.run(PreActivations(values), w_hh, h0, c0)
        results.append((h, h_last, c_last, *torch.autograd.grad(h, tensors, weights)))
    for ours, reference in zip(*results, strict=True):
        assert ours.isfinite().all()
        atol = 100 * torch.finfo(dtype).eps * max(1, reference.detach().abs().max().item())
        torch.testing.assert_close(ours, reference, rtol=0, atol=atol)


def test_a_nan_is_passed_on_and_not_hidden():
    values = torch.zeros(3, 1, 4 * H, dtype=torch.float64)
    values[1, 0, 0] = torch.nan
    (values, w_hh, h0, c0), _ = leaves(values)
    h, _, c_last = FusedKernel().run(PreActivations(values), w_hh, h0, c0)
    assert h[0].isfinite().all()
    assert h[1, 0, 0].isnan()
    assert c_last.isnan().all()


def test_a_second_derivative_of_a_loss_is_refused_and_never_wrong():
    tensors, _ = leaves(torch.randn(4, 2, 4 * H, generator=torch.Generator().manual_seed(6), dtype=torch.float64))
    h, _, _ = FusedKernel().run(PreActivations(tensors[0]), *tensors[1:])
    (first,) = torch.autograd.grad((h**2).sum(), tensors[:1], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


def results_of_threads(kernel, kind, mode=None):
    generator = torch.Generator().manual_seed(7)
    T, B = 9, 25  # of 8 rows or more for each of three threads
    values = torch.randn(T, B, 4 * H, generator=generator, dtype=torch.float64)
    (values, *others), weights = leaves(values)
    ids = torch.randint(T, (T, B), generator=generator)
    source = values if kind == "projected" else values.detach()[:, 0].clone().requires_grad_()
    inputs = PreActivations(source) if kind == "projected" else PreActivationTable(source, ids)
    if mode is not None:
        with mode():
            return kernel.run(inputs, *others)
    h, h_last, c_last = kernel.run(inputs, *others)
    return h, h_last, c_last, *torch.autograd.grad((h * weights).sum() + (h_last * c_last).sum(), [source, *others])


@pytest.mark.parametrize("kind", ["projected", "table"])
def test_rows_shared_among_threads_equal_the_reference(kind, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    ours, theirs = (results_of_threads(kernel, kind) for kernel in (FusedKernel(), ReferenceKernel()))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode], ids=["no_grad", "inference_mode"])
def test_rows_are_shared_without_gradients_too(mode, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    ours, theirs = (results_of_threads(kernel, "table", mode) for kernel in (FusedKernel(), ReferenceKernel()))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


def test_nothing_is_recorded_for_autograd_in_any_thread(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    inside, gather = [], fused._inputs_by_gate

    def noted(*given):
        inside.append(torch.is_grad_enabled())
        return gather(*given)

    monkeypatch.setattr(fused, "_inputs_by_gate", noted)
    results_of_threads(FusedKernel(), "projected")
    assert inside == [False, False, False]
