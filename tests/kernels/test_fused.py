"""What is peculiar to the kernel whose backward pass is derived by hand."""

from __future__ import annotations

import threading

import pytest
import torch

from unrolled.kernels import FusedKernel, Projected, ReferenceKernel, TableLookup, fused

H = 3


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def smallest_shares(monkeypatch):
    for limit in ("FEWEST_SHARED_STEPS", "SMALLEST_SHARE_ROWS", "SMALLEST_SHARE_PRODUCTS"):
        monkeypatch.setattr(fused, limit, 1)


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
    for ours, reference in zip(*results, strict=True):
        assert ours.isfinite().all()
        atol = 100 * torch.finfo(dtype).eps * max(1, reference.detach().abs().max().item())
        torch.testing.assert_close(ours, reference, rtol=0, atol=atol)


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


def results_and_gradients(kernel, kind, T=19, B=5):
    generator = torch.Generator().manual_seed(7)
    values = torch.randn(T, B, 4 * H, generator=generator, dtype=torch.float64)
    tensors, weights = leaves(values)
    if kind == "projected":
        inputs = Projected(tensors[0])
    else:
        tensors[0] = values[:, 0].clone().requires_grad_()
        inputs = TableLookup(tensors[0], torch.randint(T, (T, B), generator=generator))
    h, h_last, c_last = kernel.run(inputs, *tensors[1:])
    loss = (h * weights).sum() + (h_last * c_last).sum()
    return h.detach(), h_last.detach(), c_last.detach(), *torch.autograd.grad(loss, tensors)


@pytest.mark.usefixtures("three_threads", "smallest_shares")
@pytest.mark.parametrize("kind", ["projected", "table"])
@pytest.mark.parametrize("B", [2, 3, 5, 7])
def test_rows_shared_among_threads_equal_the_reference(kind, B):
    assert len(fused._shares_of_rows(torch.empty(19, B, H))) == min(B, 3)
    ours = results_and_gradients(FusedKernel(), kind, B=B)
    theirs = results_and_gradients(ReferenceKernel(), kind, B=B)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


@pytest.mark.usefixtures("three_threads", "smallest_shares")
def test_rows_shared_among_threads_give_the_same_bits_every_time():
    first = results_and_gradients(FusedKernel(), "table")
    for _ in range(20):
        again = results_and_gradients(FusedKernel(), "table")
        assert all(torch.equal(one, other) for one, other in zip(again, first, strict=True))


@pytest.mark.usefixtures("three_threads", "smallest_shares")
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode], ids=["no_grad", "inference_mode"])
def test_rows_are_shared_without_gradients_too(mode):
    (values, *others), _ = leaves(torch.randn(9, 5, 4 * H, generator=torch.Generator().manual_seed(8)))
    expected, _, _ = ReferenceKernel().run(Projected(values), *others)
    with mode():
        h, _, _ = FusedKernel().run(Projected(values), *others)
    torch.testing.assert_close(h, expected.detach(), rtol=0, atol=1e-10)


@pytest.mark.usefixtures("three_threads", "smallest_shares")
def test_sharing_rows_leaves_the_number_of_threads_as_it_was():
    results_and_gradients(FusedKernel(), "table")
    later = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert (torch.get_num_threads(), later) == (3, [3])


@pytest.mark.usefixtures("three_threads")
def test_an_error_in_one_share_is_raised_and_the_number_of_threads_put_back():
    def work(rows):
        if rows.start == 2:
            raise MemoryError("in the second share")

    with pytest.raises(MemoryError, match="in the second share"):
        fused._in_threads(work, [slice(0, 2), slice(2, 4)])
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize(
    ("T", "B", "hidden", "shares"),
    [
        (128, 64, 256, 3),
        (128, 50, 256, 3),
        (128, 47, 256, 2),  # at least 16 rows each
        (128, 31, 512, 1),
        (128, 64, 64, 1),  # too little to do
        (1, 64, 256, 1),  # too few steps
        (128, 0, 256, 1),
    ],
)
def test_shares_are_whole_and_only_as_many_as_pay(T, B, hidden, shares):
    parts = fused._shares_of_rows(torch.empty(T, B, hidden, device="cpu"))
    assert len(parts) == shares
    assert [row for part in parts for row in range(B)[part]] == list(range(B))


@pytest.mark.usefixtures("three_threads")
def test_rows_on_another_device_stay_together():
    assert len(fused._shares_of_rows(torch.empty(128, 64, 256, device="meta"))) == 1
