"""The kernel in C: equal to the equations in float64, however rows and blocks are cut, and safe to call."""

import shutil
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from unrolled.kernels import DenseInput, PreActivations, PreActivationTable, ReferenceKernel, TokenInput, softmax
from unrolled.kernels.native import NativeKernel
from unrolled.kernels.native import gradients as gradients_of_native
from unrolled.kernels.native import softmax as native_softmax
from unrolled.native import native_library, native_status, native_variant, newton_schulz, operands
from unrolled.native import threads as kernel_threads
from unrolled.native.newton_schulz import native_orthogonal
from unrolled.native.team import Cut
from unrolled.training.optimizers import muon

COMPILER = any(shutil.which(name) for name in ("cc", "gcc", "clang"))
pytestmark = [
    pytest.mark.skipif(native_library() is None and not COMPILER, reason="no C compiler was here"),
    pytest.mark.usefixtures("variant"),
]
# steps, rows, hidden size, inputs: across a block of 128 products, a chunk of 60 rows, and the vectors' edges
SIZES = [(1, 1, 1, 2), (7, 5, 33, 3), (3, 61, 129, 4), (257, 2, 8, 5), (4, 64, 17, 90), (2, 3, 256, 6), (2, 37, 300, 7)]


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
        return (lambda source: PreActivationTable(source, ids), draw(V, 4 * H)), w, draw(B, H), draw(B, H), weights
    return (PreActivations, draw(T, B, 4 * H)), w, draw(B, H), draw(B, H), weights


def test_it_was_built_where_there_is_a_compiler(variant):
    assert native_library() is not None
    assert native_status().startswith("compiled C")
    assert native_variant() == variant or variant == "auto"


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


@pytest.mark.parametrize("table", [False, True])
@pytest.mark.parametrize(("T", "B", "H", "V"), [*SIZES, (2, 13, 1, 3), (3, 25, 300, 7)])
def test_bfloat16_operands_give_the_same_up_to_their_rounding(T, B, H, V, table):
    given = problem(T, B, H, V, table)
    expected = gradients(ReferenceKernel(), torch.float64, *given)
    for exact, ours in zip(expected, gradients(NativeKernel("bfloat16"), torch.float32, *given), strict=True):
        # each operand is off by up to 1 part in 512, here and there; over many steps it adds up
        assert (exact - ours).abs().max().item() < 0.01 * T**0.5 * max(1.0, exact.abs().max().item())
        assert (exact - ours).norm() < 0.01 * (exact.norm() + 1e-3)


def test_bfloat16_rounds_operands_to_the_nearest_and_ties_to_even():
    values = torch.tensor([1.0, 1 + 2**-8, 1 + 3 * 2**-8, -(1 + 2**-8), 1e-30, 65504.0, 3e38, -0.0]).repeat(9)[None]
    found = operands.operands("bfloat16").of(values)
    assert torch.equal(found.float(), values.bfloat16().float())


def test_a_nan_stays_a_nan_in_bfloat16():
    values = torch.tensor([[float("nan"), float("inf"), float("-inf"), 1.0]])
    found = operands.operands("bfloat16").of(values).float()
    torch.testing.assert_close(found, values, rtol=0, atol=0, equal_nan=True)


def test_without_gradients_everything_is_float32_whatever_the_precision_of_training():
    make, w, h0, c0, _ = problem(3, 5, 21, 4, True)
    given = make[0](make[1].float()), w.float(), h0.float(), c0.float()
    assert torch.equal(NativeKernel("bfloat16").run(*given)[0], NativeKernel().run(*given)[0])


def test_a_bfloat16_step_keeps_half_as_much_for_the_backward_pass():
    kept = {}
    for precision in ("float32", "bfloat16"):
        table, w = torch.randn(3, 4 * 32, requires_grad=True), torch.randn(32, 4 * 32, requires_grad=True)
        ids, zeros, sizes = torch.zeros(50, 4, dtype=torch.int64), torch.zeros(4, 32), {}
        note = lambda t, sizes=sizes: sizes.update({t.data_ptr(): 0 if t.is_leaf else t.nbytes}) or t  # noqa: E731
        with torch.autograd.graph.saved_tensors_hooks(note, lambda t: t):
            NativeKernel(precision).run(PreActivationTable(table, ids), w, zeros, zeros)
        kept[precision] = sum(sizes.values()) / (50 * 4)
    numbers = 6 * 32  # four gates, cell and hidden state of a unit
    assert kept["float32"] <= 4 * numbers + 4 * 2 * 32 / 50 + 8
    assert kept["bfloat16"] <= 2 * numbers + 4 * 2 * 32 / 50 + 8


@pytest.mark.parametrize(("precision", "allowed"), [("float32", 2e-6), ("bfloat16", 0.01)])
@pytest.mark.parametrize(("T", "B", "inputs", "H"), [(1, 1, 1, 1), (4, 5, 7, 3), (3, 70, 33, 21), (9, 30, 300, 17)])
@pytest.mark.parametrize("is_embedded", [False, True])
def test_an_input_and_its_weights_get_their_gradients(is_embedded, precision, allowed, T, B, inputs, H):
    g = torch.Generator().manual_seed(3)
    draw = lambda *shape: torch.randn(*shape, generator=g, dtype=torch.float64) / shape[-2] ** 0.5  # noqa: E731
    x = draw(37, inputs) if is_embedded else draw(T, B, inputs)
    leaves = x, draw(inputs, 4 * H), draw(1, 4 * H)[0], draw(H, 4 * H), draw(B, H), draw(B, H)
    weights, ids = draw(T, B, H), torch.randint(37, (T, B), generator=g)

    def results(kernel, dtype):
        x, w_ih, bias, w_hh, h0, c0 = own = [leaf.to(dtype).requires_grad_() for leaf in leaves]
        h, _, _ = kernel.run(TokenInput(x, ids, w_ih, bias) if is_embedded else DenseInput(x, w_ih, bias), w_hh, h0, c0)
        return [h, *torch.autograd.grad((h * weights.to(dtype)).sum(), own)]

    expected = results(ReferenceKernel(), torch.float64)
    for exact, ours in zip(expected, results(NativeKernel(precision), torch.float32), strict=True):
        assert (exact - ours).norm() < allowed * (T * B) ** 0.25 * (exact.norm() + 0.01)


@pytest.mark.parametrize(("precision", "allowed"), [("float32", 2e-6), ("bfloat16", 0.01)])
@pytest.mark.parametrize(("N", "H", "V"), [(1, 1, 1), (23, 5, 7), (700, 21, 90), (250, 33, 3001)])
@pytest.mark.parametrize(("scale", "grad_loss"), [(1.0, 3.0), (0.3, 1.0)])
def test_the_softmax_end_equals_separate_steps_in_float64(precision, allowed, N, H, V, scale, grad_loss):
    g = torch.Generator().manual_seed(4)
    leaves = [torch.randn(*shape, generator=g, dtype=torch.float64) for shape in ((N, H), (V, H), (V,))]
    targets = torch.randint(V, (N,), generator=g)
    targets[::3] = softmax.IGNORED if N > 1 else 0
    exact = [leaf.clone().requires_grad_() for leaf in leaves]
    expected = scale * functional.cross_entropy(functional.linear(*exact), targets, reduction="sum")
    ours = [leaf.float().requires_grad_() for leaf in leaves]
    loss = NativeKernel(precision).summed_cross_entropy(*ours, targets, scale)
    assert abs(loss.item() - expected.item()) <= allowed * (expected.item() + 1e-3)
    derivatives = torch.autograd.grad(grad_loss * loss, ours), torch.autograd.grad(grad_loss * expected, exact)
    for one, other in zip(*derivatives, strict=True):
        assert (one - other).norm() < allowed * (other.norm() + 1e-3)


def test_the_softmax_end_in_blocks_equals_that_in_one(monkeypatch):
    leaves = [torch.randn(shape).requires_grad_() for shape in ((1500, 6), (11, 6), (11,))]
    targets = torch.arange(1500) % 11
    results = []
    for numbers in (1, 2**30):
        monkeypatch.setattr(native_softmax, "BLOCK_NUMBERS", numbers)
        loss = NativeKernel().summed_cross_entropy(*leaves, targets)
        results.append([loss, *torch.autograd.grad(loss, leaves)])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-4)


def test_the_backward_pass_in_blocks_of_steps_equals_that_in_one(monkeypatch):
    for table in (False, True):
        given = problem(7, 5, 19, 3, table)
        results = []
        for numbers in (1, 5 * 96 * 3, 2**30):  # one step, three steps, all
            monkeypatch.setattr(gradients_of_native, "BLOCK_NUMBERS", numbers)
            results.append(gradients(NativeKernel(), torch.float32, *given))
        for others in results[1:]:
            for one, other in zip(results[0], others, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("wrong", [7, 1000, -1])
def test_a_target_outside_the_vocabulary_is_refused_before_memory_is_read(wrong):
    leaves = [torch.zeros(shape).requires_grad_() for shape in ((2, 3), (7, 3), (7,))]
    with pytest.raises(IndexError, match="outside the vocabulary of 7"):
        NativeKernel().summed_cross_entropy(*leaves, torch.tensor([0, wrong]))


@pytest.mark.parametrize("shapes", [((2, 4), (7, 3), (7,), 2), ((2, 3), (7, 3), (6,), 2), ((2, 3), (7, 3), (7,), 3)])
def test_an_output_layer_that_does_not_fit_is_refused_before_memory_is_read(shapes):
    *leaves, targets = shapes
    with pytest.raises(ValueError, match="do not match"):
        NativeKernel().summed_cross_entropy(
            *(torch.zeros(shape).requires_grad_() for shape in leaves), torch.zeros(targets, dtype=torch.int64)
        )


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
    monkeypatch.setattr(kernel_threads, "WORTH_A_THREAD", 1)
    h, _, c_last, d_source, _, dh0, dc0 = gradients(NativeKernel(), torch.float32, make, w, h0, c0, weights)
    for row in range(7):
        assert torch.equal(h[:, row], alone[row][0][:, 0])
        assert torch.equal(c_last[row], alone[row][2][0])
        assert torch.equal(d_source[:, row], alone[row][3][:, 0])
        assert torch.equal(dh0[row], alone[row][5][0])
        assert torch.equal(dc0[row], alone[row][6][0])


@pytest.mark.parametrize("wrong", [-1, 3])
def test_an_id_outside_the_table_is_refused_before_memory_is_read(wrong):
    ids = torch.tensor([[0], [wrong]])
    with pytest.raises(IndexError, match="outside the table of 3 rows"):
        NativeKernel().run(
            PreActivationTable(torch.zeros(3, 8), ids), torch.zeros(2, 8), torch.zeros(1, 2), torch.zeros(1, 2)
        )


def test_extreme_and_missing_numbers_behave_as_in_the_equations():
    values = [-1e4, -100.0, -88.0, -0.0, 1e-30, 88.0, 100.0, 1e4, float("inf"), float("-inf"), float("nan")]
    pre = torch.tensor(values).repeat(1, 1, 4)  # each value in all four gates of its own unit
    H = len(values)
    state = torch.zeros(1, H)
    for either in (ReferenceKernel(), NativeKernel()):
        h, _, c = either.run(PreActivations(pre), torch.zeros(H, 4 * H), state, state)
        assert torch.isfinite(h[..., :-1]).all()
        assert torch.isnan(h[..., -1]).all()
        if either.name == "reference":
            expected = h, c
    torch.testing.assert_close((h, c), expected, rtol=0, atol=2e-7, equal_nan=True)


def test_other_precisions_go_another_way_and_stay_exact():
    make, w, h0, c0, _ = problem(3, 2, 5, 4, False)
    h, _, _ = NativeKernel().run(PreActivations(make[1]), w, h0, c0)
    assert h.dtype == torch.float64
    torch.testing.assert_close(h, ReferenceKernel().run(PreActivations(make[1]), w, h0, c0)[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("h0", "c0", "w"),
    [
        (torch.zeros(1, 2), torch.zeros(3, 2), torch.zeros(2, 8)),
        (torch.zeros(3, 2), torch.zeros(3, 3), torch.zeros(2, 8)),
        (torch.zeros(3, 2), torch.zeros(3, 2), torch.zeros(2, 9)),
        (torch.zeros(3, 3), torch.zeros(3, 3), torch.zeros(3, 12)),
    ],
)
def test_shapes_that_do_not_match_are_refused_before_memory_is_read(h0, c0, w):
    with pytest.raises(ValueError, match=", not "):
        NativeKernel().run(PreActivations(torch.zeros(4, 3, 8)), w, h0, c0)


@pytest.mark.parametrize(("T", "B", "H"), [(2**40, 2**18, 2), (1, 1, 2**30), (2**31, 2**28, 1), (2**60, 1, 1)])
def test_sizes_that_overflow_are_a_clear_error_before_anything_is_multiplied_in_c(T, B, H):
    zero = torch.zeros(1)
    shapes = (T, B, 4 * H), (H, 4 * H), (B, H), (B, H)
    source, w, h0, c0 = (zero.expand(shape) for shape in shapes)
    with pytest.raises(ValueError, match="more bytes than there are addresses"):
        NativeKernel().run(PreActivations(source), w, h0, c0)


def test_no_rows_give_empty_results():
    h, h_last, c_last = NativeKernel().run(
        PreActivations(torch.zeros(4, 0, 8)), torch.zeros(2, 8), torch.zeros(0, 2), torch.zeros(0, 2)
    )
    assert (h.shape, h_last.shape, c_last.shape) == ((4, 0, 2), (0, 2), (0, 2))


def test_a_state_of_another_precision_is_not_read_as_float32():
    pre, w, h0 = torch.randn(2, 3, 8), torch.randn(2, 8), torch.randn(3, 2, dtype=torch.float64)
    with pytest.raises(RuntimeError):
        NativeKernel().run(PreActivations(pre), w, h0, torch.zeros(3, 2))


def test_strided_tensors_give_what_contiguous_ones_do():
    h, weight, bias = torch.randn(5, 30).t(), torch.randn(5, 7).t(), torch.randn(14)[::2]
    targets = torch.arange(60)[::2] % 7
    results = []
    for copied in (False, True):
        leaves = [(t.contiguous() if copied else t).detach().requires_grad_() for t in (h, weight, bias)]
        loss = NativeKernel().summed_cross_entropy(*leaves, targets)
        results.append([loss, *torch.autograd.grad(loss, leaves)])
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", ["projected", "table", "dense", "embedded"])
def test_strided_and_expanded_tensors_equal_contiguous_ones_bit_for_bit(kind, precision):
    T, B, inputs, H = 5, 6, 7, 19
    g = torch.Generator().manual_seed(8)
    sizes = {"projected": (T, B, 4 * H), "table": (3, 4 * H), "dense": (T, B, inputs), "embedded": (3, inputs)}[kind]
    shapes = [sizes, (inputs, 4 * H), (2, 4 * H), (H, 4 * H), (B, H), (1, H)]
    plain = [torch.randn(shape, generator=g) for shape in shapes]
    ids, weight = torch.randint(3, (T, B), generator=g), torch.randn(T, B, H, generator=g)

    def results(form, of_h, ids):
        source, w_ih, bias, w_hh, h0, c0 = leaves = [form(leaf).requires_grad_() for leaf in plain]
        given = {
            "projected": PreActivations(source),
            "table": PreActivationTable(source, ids),
            "dense": DenseInput(source, w_ih, bias[1]),
            "embedded": TokenInput(source, ids, w_ih, bias[1]),
        }
        h, _, c_last = NativeKernel(precision).run(given[kind], w_hh, h0, c0.expand(B, H))
        return h, c_last, *torch.autograd.grad((h * of_h).sum() + c_last.sum(), leaves, allow_unused=True)

    turned = lambda t: t.clone().transpose(0, 1).contiguous().transpose(0, 1)  # noqa: E731
    expected = results(torch.clone, weight, ids)
    for one, other in zip(results(turned, turned(weight), turned(ids).int()), expected, strict=True):
        assert (one is None and other is None) or torch.equal(one, other)
    ones = results(torch.clone, torch.ones(T, B, H), ids)
    for one, other in zip(results(turned, torch.ones(()), ids), ones, strict=True):
        assert (one is None and other is None) or torch.equal(one, other)


def test_an_expanded_gradient_equals_a_full_one():
    make, w, h0, c0, _ = problem(5, 3, 19, 4, False)
    leaves = [tensor.float().requires_grad_() for tensor in (make[1], w, h0, c0)]
    h, _, _ = NativeKernel().run(PreActivations(leaves[0]), *leaves[1:])
    full = torch.autograd.grad(h, leaves, torch.ones(5, 3, 19), retain_graph=True)
    for one, other in zip(torch.autograd.grad(h.sum(), leaves), full, strict=True):  # of a sum: strides of 0
        assert torch.equal(one, other)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_nothing_that_the_caller_owns_is_written_to(precision):
    for B, H in ((1, 64), (3, 5)):  # the first without a gap between the units: its state needs no other order
        owned = [torch.randn(shape) for shape in ((4, B, 4 * H), (H, 4 * H), (B, H), (B, H), (4, B, H), (B, H))]
        before = [tensor.clone() for tensor in owned]
        *leaves, of_h, of_c = owned
        h, _, c = NativeKernel(precision).run(PreActivations(leaves[0].requires_grad_()), *leaves[1:])
        torch.autograd.backward((h, c), (of_h, of_c))
        assert all(torch.equal(tensor, numbers) for tensor, numbers in zip(owned, before, strict=True))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_retained_graph_allows_a_second_backward_pass_but_no_second_derivative(precision):
    make, w, h0, c0, _ = problem(4, 3, 5, 4, True)
    leaves = [tensor.float().requires_grad_() for tensor in (make[1], w, h0, c0)]
    h, _, _ = NativeKernel(precision).run(make[0](leaves[0]), *leaves[1:])
    output, bias, targets = w.float()[:, :5], w.float()[:, 0], torch.arange(12) % 5
    loss = NativeKernel(precision).summed_cross_entropy(h.flatten(0, 1), output, bias, targets)
    first = torch.autograd.grad(loss, leaves, retain_graph=True)
    again = torch.autograd.grad(loss, leaves, retain_graph=True)
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    for value in (h.square().sum(), loss.square()):
        (once,) = torch.autograd.grad(value, leaves[:1], create_graph=True)
        with pytest.raises(RuntimeError, match="once_differentiable"):
            once.sum().backward()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_earlier_contents_of_memory_do_not_reach_a_result(precision, monkeypatch):
    def spoilt(self, *shape):
        return torch.full(shape, float("nan"), dtype=self.dtype)

    monkeypatch.setattr(operands.Operands, "empty", spoilt)
    make, w, h0, c0, weights = problem(5, 4, 19, 3, True)
    results = gradients(NativeKernel(precision), torch.float32, make, w, h0, c0, weights)
    x, w_ih = torch.randn(5, 4, 7, requires_grad=True), torch.randn(7, 76, requires_grad=True)
    h, _, _ = NativeKernel(precision).run(DenseInput(x, w_ih, torch.zeros(76)), w.float(), h0.float(), c0.float())
    output, bias = torch.randn(11, 19, requires_grad=True), torch.zeros(11, requires_grad=True)
    targets = torch.arange(20) % 11
    targets[3] = softmax.IGNORED
    loss = NativeKernel(precision).summed_cross_entropy(h.flatten(0, 1), output, bias, targets)
    results += [loss, *torch.autograd.grad(loss, (x, w_ih, output, bias))]
    assert all(result.isfinite().all() for result in results)


def test_the_backward_pass_of_a_dense_input_in_blocks_of_steps_equals_that_in_one(monkeypatch):
    leaves = [torch.randn(shape).requires_grad_() for shape in ((7, 5, 6), (6, 76), (76,), (19, 76), (5, 19), (5, 19))]
    results = []
    for numbers in (1, 5 * 96 * 3, 2**30):  # one step, three steps, all
        monkeypatch.setattr(gradients_of_native, "BLOCK_NUMBERS", numbers)
        h, _, _ = NativeKernel().run(DenseInput(*leaves[:3]), *leaves[3:])
        results.append(torch.autograd.grad(h.square().sum(), leaves))
    for others in results[1:]:
        for one, other in zip(results[0], others, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_logits_of_any_size_overflow_nothing():
    h, weight = torch.tensor([[1.0], [-1.0]]), torch.tensor([[1000.0], [999.0], [-1000.0]])
    leaves = [leaf.requires_grad_() for leaf in (h, weight, torch.zeros(3))]
    targets = torch.tensor([1, 0])
    loss = NativeKernel().summed_cross_entropy(*leaves, targets)
    exact = functional.cross_entropy(functional.linear(*(leaf.double() for leaf in leaves)), targets, reduction="sum")
    assert abs(loss.item() - exact.item()) < 1e-3
    assert all(d.isfinite().all() for d in torch.autograd.grad(loss, leaves))


def test_a_nan_stays_a_nan_in_bfloat16_for_all_its_bit_patterns():
    none = torch.tensor([[0x7FFFFFFF, 0x7F800001, -1, 0x7F808000]], dtype=torch.int32).view(torch.float32)
    assert operands.operands("bfloat16").of(none).isnan().all()


def test_the_nats_are_summed_in_the_order_of_the_parts(monkeypatch):
    nats = torch.tensor([1e16, 1.0, -1e16, 1.0], dtype=torch.float64)  # in float64, their sum depends on the order
    kind = SimpleNamespace(size=lambda name, *sizes: 1, dtype=torch.float32)
    kind.do = lambda *_, **arguments: arguments["nats"].copy_(nats)
    monkeypatch.setattr(native_softmax, "cut", lambda count, work, most: Cut(count, 4, 2))
    total = native_softmax._cross_entropy(kind, 11, 6, torch.zeros(11), {"h": torch.zeros(4, 6)})
    assert total == ((1e16 + 1.0) - 1e16) + 1.0


@pytest.mark.parametrize(
    "inputs",
    [
        PreActivations(torch.zeros(3, 8)),  # read as steps and rows, these would be 24 times 8 numbers
        PreActivations(torch.zeros(4, 3, 0, 8)),
        PreActivationTable(torch.zeros(8), torch.full((4, 3), 7)),
        PreActivationTable(torch.zeros(5, 8), torch.zeros(4, 3, 0, dtype=torch.int64)),
        DenseInput(torch.zeros(4, 3), torch.zeros(3, 8), torch.zeros(8)),
        DenseInput(torch.zeros(4, 3, 5), torch.zeros(6, 8), torch.zeros(8)),
        DenseInput(torch.zeros(4, 3, 5), torch.zeros(5, 8), torch.zeros(7)),
        TokenInput(torch.zeros(5), torch.zeros(4, 3, dtype=torch.int64), torch.zeros(5, 8), torch.zeros(8)),
        TokenInput(torch.zeros(9, 4), torch.zeros(4, 3, dtype=torch.int64), torch.zeros(5, 8), torch.zeros(8)),
        TokenInput(torch.zeros(9, 5), torch.zeros(4, 3, 0, dtype=torch.int64), torch.zeros(5, 8), torch.zeros(8)),
    ],
    ids=[
        *("projected-2", "projected-4", "table-1", "ids-3", "dense-2", "dense-w", "dense-bias"),
        *("embedding-1", "embedded-w", "embedded-ids-3"),
    ],
)
def test_inputs_that_do_not_fit_are_refused_before_memory_is_read(inputs):
    B = 8 if isinstance(inputs, PreActivations) and inputs.values.ndim == 2 else 3
    with pytest.raises(ValueError, match=", not "):
        NativeKernel().run(inputs, torch.zeros(2, 8), torch.zeros(B, 2), torch.zeros(B, 2))


@pytest.mark.parametrize(("N", "V", "H"), [(2**60, 3, 3), (2, 2**60, 3), (2, 3, 2**60), (2**31, 2**31, 2)])
def test_an_output_layer_that_overflows_is_a_clear_error_before_anything_is_multiplied_in_c(N, V, H):
    h, weight, bias = (torch.zeros(1).expand(shape).requires_grad_() for shape in ((N, H), (V, H), (V,)))
    with pytest.raises(ValueError, match="more bytes than there are addresses"):
        NativeKernel().summed_cross_entropy(h, weight, bias, torch.zeros(1, dtype=torch.int64).expand(N))


@pytest.mark.parametrize(("B", "inputs"), [(0, 3), (2, 0), (0, 0)])
def test_a_dense_input_of_nothing_has_gradients_of_nothing(B, inputs):
    shapes = (4, B, inputs), (inputs, 8), (8,), (2, 8), (B, 2), (B, 2)
    x, w_ih, bias, w_hh, h0, c0 = leaves = [torch.ones(shape).requires_grad_() for shape in shapes]
    h, _, _ = NativeKernel().run(DenseInput(x, w_ih, bias), w_hh, h0, c0)
    expected = torch.autograd.grad(ReferenceKernel().run(DenseInput(x, w_ih, bias), w_hh, h0, c0)[0].sum(), leaves)
    torch.testing.assert_close(torch.autograd.grad(h.sum(), leaves), expected, rtol=1e-5, atol=1e-5)


def test_another_default_precision_does_not_reach_the_buffers_of_c():
    make, w, h0, c0, weights = problem(3, 5, 21, 4, True)
    expected = gradients(NativeKernel(), torch.float32, make, w, h0, c0, weights)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        found = gradients(NativeKernel(), torch.float32, make, w, h0, c0, weights)
    finally:
        torch.set_default_dtype(before)
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(("R", "C"), [(1, 1), (1, 9), (5, 7), (31, 31), (33, 200), (140, 141)])
def test_orthogonal_matrices_equal_the_products_in_float64(R, C):
    scales = torch.tensor([1.0, 1e-20, 1e20]).view(3, 1, 1)
    matrices = torch.randn(3, R, C, generator=torch.Generator().manual_seed(R)) * scales
    found = native_orthogonal(matrices, muon.ITERATIONS)
    torch.testing.assert_close(found.double(), muon.newton_schulz(matrices.double()), rtol=0, atol=5e-5)


def test_orthogonal_matrices_do_not_depend_on_threads_or_on_the_other_matrices(monkeypatch):
    matrices = torch.randn(5, 40, 50)
    whole = native_orthogonal(matrices, muon.ITERATIONS)
    monkeypatch.setattr(kernel_threads, "WORTH_A_THREAD", 0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert torch.equal(native_orthogonal(matrices, muon.ITERATIONS), whole)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert torch.equal(native_orthogonal(matrices[2:3], muon.ITERATIONS), whole[2:3])


def test_orthogonal_matrices_are_left_to_pytorch_where_c_is_no_better(monkeypatch):
    matrices = torch.randn(4, 6, 7)
    assert native_orthogonal(matrices.double(), muon.ITERATIONS) is None
    assert native_orthogonal(matrices.to("meta"), muon.ITERATIONS) is None
    monkeypatch.setattr(torch, "get_num_threads", lambda: 5)  # one of them would have nothing to do
    assert native_orthogonal(matrices, muon.ITERATIONS) is None
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    assert native_orthogonal(matrices, muon.ITERATIONS) is not None
    monkeypatch.setattr(newton_schulz, "native_library", lambda: None)
    assert native_orthogonal(matrices, muon.ITERATIONS) is None
