"""The kernel in C: equal to the equations in float64, however rows and blocks are cut, and safe to call."""

import shutil

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unrolled.kernels import Projected, ReferenceKernel, TableLookup
from unrolled.kernels.native import NativeKernel, kernel, library, native_library, native_status
from unrolled.kernels.native.library import on_all_rows

COMPILER = any(shutil.which(name) for name in ("cc", "gcc", "clang"))
pytestmark = pytest.mark.skipif(
    native_library() is None and not COMPILER, reason="no C compiler was here when unrolled was installed"
)
# steps, rows, hidden size, inputs: across a block of 128 products, a chunk of 60 rows, and the vectors' edges
SIZES = [(1, 1, 1, 2), (7, 5, 33, 3), (3, 61, 129, 4), (257, 2, 8, 5), (4, 64, 17, 90), (2, 3, 256, 6)]


def gradients(kernel, dtype, make_inputs, w, h0, c0, weights):
    """Return outputs, states and all gradients of a loss that uses every output with its own weight."""
    source, w, h0, c0 = (tensor.to(dtype).requires_grad_() for tensor in (make_inputs[1], w, h0, c0))
    h, h_last, c_last = kernel.run(make_inputs[0](source), w, h0, c0)
    of_h, of_h_last, of_c_last = (weight.to(dtype) for weight in weights)
    loss = (h * of_h).sum() + (h_last * of_h_last).sum() + (c_last * of_c_last).sum()
    return [h, h_last, c_last, *torch.autograd.grad(loss, (source, w, h0, c0))]


def problem(T, B, H, V, table):
    g = torch.Generator().manual_seed(T + 10 * B + 100 * H)
    draw = lambda *shape: torch.randn(*shape, generator=g, dtype=torch.float64)  # noqa: E731
    w = draw(H, 4 * H) / H**0.5
    weights = (draw(T, B, H), draw(B, H), draw(B, H))
    if table:
        ids = torch.randint(V, (T, B), generator=g)
        return (lambda source: TableLookup(source, ids), draw(V, 4 * H)), w, draw(B, H), draw(B, H), weights
    return (Projected, draw(T, B, 4 * H)), w, draw(B, H), draw(B, H), weights


def test_it_was_built_where_there_is_a_compiler():
    assert native_library() is not None
    assert native_status().startswith("compiled C")


@pytest.mark.parametrize("table", [False, True])
@pytest.mark.parametrize(("T", "B", "H", "V"), SIZES)
def test_outputs_states_and_all_gradients_equal_the_equations_in_float64(T, B, H, V, table):
    given = problem(T, B, H, V, table)
    expected = gradients(ReferenceKernel(), torch.float64, *given)
    found = gradients(NativeKernel(), torch.float32, *given)
    for exact, ours in zip(expected, found, strict=True):
        # float32 sums of up to T B products round to about sqrt(T B) units in the last place of the largest of them
        allowed = 4e-7 * (T * B) ** 0.5 * max(1.0, exact.abs().max().item()) + 4e-6
        assert (exact - ours).abs().max().item() < allowed


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(1, 9), st.integers(1, 70), st.integers(1, 70), st.integers(1, 70), st.booleans())
def test_any_sizes_equal_the_equations_in_float64(T, B, H, V, table):
    given_problem = problem(T, B, H, V, table)
    expected = gradients(ReferenceKernel(), torch.float64, *given_problem)
    for exact, ours in zip(expected, gradients(NativeKernel(), torch.float32, *given_problem), strict=True):
        allowed = 4e-7 * (T * B) ** 0.5 * max(1.0, exact.abs().max().item()) + 4e-6
        assert (exact - ours).abs().max().item() < allowed


@pytest.mark.parametrize("variant", [name for name, _ in library.FASTEST_FIRST])
def test_every_variant_that_runs_here_equals_the_equations(variant, monkeypatch):
    needed = dict(library.FASTEST_FIRST)[variant]
    if library._open("portable").lstm_processor_level() < needed or library._open(variant) is None:
        pytest.skip(f"this processor or compiler has no {variant}")
    monkeypatch.setattr(kernel, "native_library", lambda: library._open(variant))
    for T, B, H, V in SIZES[1:4]:
        given = problem(T, B, H, V, True)
        expected = gradients(ReferenceKernel(), torch.float64, *given)
        for exact, ours in zip(expected, gradients(NativeKernel(), torch.float32, *given), strict=True):
            allowed = 4e-7 * (T * B) ** 0.5 * max(1.0, exact.abs().max().item()) + 4e-6
            assert (exact - ours).abs().max().item() < allowed


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_rows_do_not_depend_on_threads_or_on_the_other_rows(threads, monkeypatch):
    make, w, h0, c0, weights = problem(5, 7, 19, 3, False)
    alone = [
        gradients(
            NativeKernel(), torch.float32, (make[0], make[1][:, [row]]), w, h0[[row]], c0[[row]],
            (weights[0][:, [row]], weights[1][[row]], weights[2][[row]]),
        )
        for row in range(7)
    ]  # fmt: skip
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    h, _, c_last, d_source, _, dh0, dc0 = gradients(NativeKernel(), torch.float32, make, w, h0, c0, weights)
    for row in range(7):
        assert torch.equal(h[:, row], alone[row][0][:, 0])
        assert torch.equal(c_last[row], alone[row][2][0])
        assert torch.equal(d_source[:, row], alone[row][3][:, 0])
        assert torch.equal(dh0[row], alone[row][5][0])
        assert torch.equal(dc0[row], alone[row][6][0])


def test_every_row_is_given_out_once(monkeypatch):
    for threads in (1, 2, 3, 8):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        for rows in (1, 2, 5, 64):
            seen = []
            on_all_rows(rows, lambda first, last, seen=seen: seen.extend(range(first, last)))
            assert sorted(seen) == list(range(rows))


def test_an_error_in_another_thread_reaches_the_caller(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)

    def fail_on_later_rows(first, last):
        if first:
            raise MemoryError("no room")

    with pytest.raises(MemoryError, match="no room"):
        on_all_rows(4, fail_on_later_rows)


@pytest.mark.parametrize("wrong", [-1, 3])
def test_an_id_outside_the_table_is_refused_before_memory_is_read(wrong):
    ids = torch.tensor([[0], [wrong]])
    with pytest.raises(IndexError, match="outside the table of 3 rows"):
        NativeKernel().run(TableLookup(torch.zeros(3, 8), ids), torch.zeros(2, 8), torch.zeros(1, 2), torch.zeros(1, 2))


def test_extreme_and_missing_numbers_behave_as_in_the_equations():
    values = [-1e4, -100.0, -88.0, -0.0, 1e-30, 88.0, 100.0, 1e4, float("inf"), float("-inf"), float("nan")]
    pre = torch.tensor(values).repeat(1, 1, 4)  # each value in all four gates of its own unit
    H = len(values)
    state = torch.zeros(1, H)
    for either in (ReferenceKernel(), NativeKernel()):
        h, _, c = either.run(Projected(pre), torch.zeros(H, 4 * H), state, state)
        assert torch.isfinite(h[..., :-1]).all()
        assert torch.isnan(h[..., -1]).all()
        if either.name == "reference":
            expected = h, c
    torch.testing.assert_close((h, c), expected, rtol=0, atol=2e-7, equal_nan=True)


def test_other_precisions_go_another_way_and_stay_exact():
    make, w, h0, c0, _ = problem(3, 2, 5, 4, False)
    h, _, _ = NativeKernel().run(Projected(make[1]), w, h0, c0)
    assert h.dtype == torch.float64
    torch.testing.assert_close(h, ReferenceKernel().run(Projected(make[1]), w, h0, c0)[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("h0", "c0", "w"),
    [
        (torch.zeros(1, 2), torch.zeros(3, 2), torch.zeros(2, 8)),
        (torch.zeros(3, 2), torch.zeros(3, 3), torch.zeros(2, 8)),
        (torch.zeros(3, 2), torch.zeros(3, 2), torch.zeros(2, 9)),
        (torch.zeros(3, 3), torch.zeros(3, 3), torch.zeros(3, 12)),
    ],
)
def test_shapes_that_do_not_belong_together_are_refused_before_memory_is_read(h0, c0, w):
    with pytest.raises(ValueError, match=", not "):
        NativeKernel().run(Projected(torch.zeros(4, 3, 8)), w, h0, c0)


@pytest.mark.parametrize(("T", "B", "H"), [(2**40, 2**18, 2), (1, 1, 2**30), (2**31, 2**28, 1), (2**60, 1, 1)])
def test_sizes_that_overflow_are_a_clear_error_before_anything_is_multiplied_in_c(T, B, H):
    zero = torch.zeros(1)
    shapes = (T, B, 4 * H), (H, 4 * H), (B, H), (B, H)
    source, w, h0, c0 = (zero.expand(shape) for shape in shapes)
    with pytest.raises(ValueError, match="more bytes than there are addresses"):
        NativeKernel().run(Projected(source), w, h0, c0)


def test_no_rows_give_empty_results():
    h, h_last, c_last = NativeKernel().run(
        Projected(torch.zeros(4, 0, 8)), torch.zeros(2, 8), torch.zeros(0, 2), torch.zeros(0, 2)
    )
    assert (h.shape, h_last.shape, c_last.shape) == ((4, 0, 2), (0, 2), (0, 2))


def test_a_state_of_another_precision_is_not_read_as_float32():
    pre, w, h0 = torch.randn(2, 3, 8), torch.randn(2, 8), torch.randn(3, 2, dtype=torch.float64)
    with pytest.raises(RuntimeError):
        NativeKernel().run(Projected(pre), w, h0, torch.zeros(3, 2))
