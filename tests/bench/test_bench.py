"""What `unrolled bench` counts and prints; never how long anything took."""

import json

import pytest
import torch

from tests.bench.conftest import TINY
from unrolled.bench import kernels, limit, ours, training
from unrolled.bench.limit import Rate, kept_for_backward_bytes, products_in_operations
from unrolled.bench.training import Limit
from unrolled.errors import UserError
from unrolled.kernels import PrecisionChoice, available_kernels, read_choice, select_kernel
from unrolled.kernels.select import MEASURED

TORCHS, OURS = f"a step of {training.TORCH}", f"a step of {training.OURS_BF16}"
NEEDS_NATIVE = pytest.mark.skipif("native" not in available_kernels(), reason="native is not available here")


def take(monkeypatch, precision):
    """Let training take a precision unless another one is asked for, as on a processor where that is the faster."""
    chosen = lambda asked, *_: PrecisionChoice(precision if asked == "auto" else asked, "as it is here")  # noqa: E731
    monkeypatch.setattr(ours, "choose_precision", chosen)


def test_the_operations_of_the_stories_shape_are_those_of_its_products():
    tokens, H, V = 128 * 64, 256, 90
    recurrence_forward = recurrence_backward = weight_gradient = 2 * tokens * H * 4 * H
    softmax = 3 * 2 * tokens * H * V
    expected = recurrence_forward + recurrence_backward + weight_gradient + softmax
    assert products_in_operations(tokens, V, H, 1) == expected


def test_what_is_kept_for_the_backward_pass_is_counted_once():
    weight, data = torch.ones(4, 4, requires_grad=True), torch.ones(4, 8)

    def forward():
        both = torch.cat((weight @ data, weight @ data))  # the products' derivatives need `data`, twice the same
        return both.exp().sum()  # and that of exp its result

    assert kept_for_backward_bytes(forward) == data.nbytes + 2 * data.nbytes


@pytest.mark.parametrize("kernel", ["fused", "native"])
def test_a_kernel_keeps_gates_cell_and_hidden_state_and_next_to_nothing_else(kernel, tiny_shape):
    if kernel not in available_kernels():
        pytest.skip(f"{kernel} is not available here")
    kept = training.measure("stories", 1)["kept_bytes_per_layer_row_and_step"][kernel]
    assert 4 * 6 * TINY.hidden_size <= kept < 4 * (7 * TINY.hidden_size + 4 * TINY.hidden_size + 10)


@pytest.mark.parametrize("fast", [pytest.param("bfloat16", marks=NEEDS_NATIVE), "float32"])
def test_training_times_every_way_that_there_is(fast, tiny_shape, monkeypatch):
    take(monkeypatch, fast)
    result = training.measure("stories", 1)
    kernels_here = ours.our_kernels()  # on some processors, native in bfloat16 is one of them
    expected = {f"ours, {name}" for name in kernels_here} | {training.PLAIN_LOOP, training.TORCH}
    expected |= {training.TORCH_DEFAULT}
    assert set(result["ways"]) - {training.TORCH_BF16} == expected
    assert result["ways"][training.TORCH]["times_torch"] == 1
    assert set(result["kept_bytes_per_layer_row_and_step"]) == set(kernels_here)


@NEEDS_NATIVE
@pytest.mark.parametrize(("fast", "asked"), [("bfloat16", "auto"), ("float32", "bfloat16")])
def test_native_is_timed_in_bfloat16_where_that_is_fast_or_asked_for(fast, asked, tiny_shape, monkeypatch):
    take(monkeypatch, fast)
    result = training.measure("stories", 1, asked)
    assert result["ways"][training.OURS_BF16]["operands"] == "bfloat16"
    assert result["ways"]["ours, native"]["operands"] == "float32"
    assert training.OURS_BF16.removeprefix("ours, ") in kernels.measure("stories", 1, asked)["ways"]


@NEEDS_NATIVE
@pytest.mark.parametrize(("fast", "asked"), [("float32", "auto"), ("bfloat16", "float32")])
def test_native_is_not_timed_in_bfloat16_elsewhere(fast, asked, monkeypatch):
    take(monkeypatch, fast)
    assert list(ours.our_kernels(asked)) == list(available_kernels())


def test_bfloat16_without_a_native_kernel_is_refused(monkeypatch):
    monkeypatch.setattr(ours, "available_kernels", dict)
    with pytest.raises(UserError, match="leave out --precision"):
        ours.our_kernels("bfloat16")


@NEEDS_NATIVE
def test_bfloat16_keeps_half_of_what_float32_keeps_but_for_the_states_at_the_edges(tiny_shape):
    kept = training.measure("stories", 1, "bfloat16")["kept_bytes_per_layer_row_and_step"]
    per_unit = {name: kept[name] / TINY.hidden_size for name in ("native", "native bfloat16")}
    assert 2 * 6 <= per_unit["native bfloat16"] < 0.6 * per_unit["native"]


@NEEDS_NATIVE
@pytest.mark.parametrize(("rounded_rate", "times"), [(4e9, 4), (0.5e9, 1)])
def test_a_rounded_way_is_measured_against_the_better_of_both_rates(rounded_rate, times, tiny_shape, monkeypatch):
    rates = {torch.float32: Rate(1e9, "torch.mm"), torch.bfloat16: Rate(rounded_rate, "oneDNN")}
    monkeypatch.setattr(training, "best_rate", lambda dtype, sizes: rates[dtype])
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    limits = training._limits(TINY, [training.TORCH, training.OURS_BF16])
    assert limits["float32"].seconds == pytest.approx(times * limits["bfloat16"].seconds)
    assert limits["bfloat16"].measured_by == ("oneDNN" if times > 1 else "torch.mm")
    assert set(training._limits(TINY, [training.TORCH])) == {"float32"}


def test_a_way_that_is_faster_than_the_best_rate_is_the_limit_and_no_share_exceeds_one(tiny_shape, monkeypatch):
    monkeypatch.setattr(training, "best_rate", lambda dtype, sizes: Rate(1.0, "torch.mm"))  # an operation a second
    result = training.measure("stories", 3)
    fastest = min(way["fastest_milliseconds"] for way in result["ways"].values() if way["operands"] == "float32")
    assert result["limit_milliseconds"]["float32"] == fastest
    assert result["limit_measured_by"]["float32"].startswith("a step of ")
    assert all(0 <= way["share_of_the_limit"] <= 1 for way in result["ways"].values())


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ({training.TORCH: [9, 8], training.OURS_BF16: [7, 6]}, {"float32": (4, "mm"), "bfloat16": (2, "dnn")}),
        ({training.TORCH: [9, 3], training.OURS_BF16: [7, 6]}, {"float32": (3, TORCHS), "bfloat16": (2, "dnn")}),
        ({training.TORCH: [9, 1], training.OURS_BF16: [7, 6]}, {"float32": (1, TORCHS), "bfloat16": (1, TORCHS)}),
        ({training.TORCH: [9, 8], training.OURS_BF16: [1, 6]}, {"float32": (4, "mm"), "bfloat16": (1, OURS)}),
    ],
)
def test_a_limit_is_lowered_by_ways_with_its_operands_or_with_those_of_float32(seconds, expected):
    limits = {"float32": Limit(4, "mm"), "bfloat16": Limit(2, "dnn")}
    found = training._lowered_to_what_was_reached(limits, seconds)
    assert {kind: (limit.seconds, limit.measured_by) for kind, limit in found.items()} == expected


def test_the_best_rate_is_that_of_the_fastest_way_at_the_sizes_that_suit_it_best(monkeypatch):
    calls = []

    def seconds(ways, rounds):
        calls.append(set(ways))
        return {name: [8.0, 2.0 if (name, len(calls)) == ("oneDNN", 2) else 4.0] for name in ways}

    monkeypatch.setattr(limit, "times_in_turn", seconds)
    rate = limit.best_rate(torch.float32, [(2, 3, 4), (3, 2, 4)])
    assert rate == Rate(2 * 3 * 2 * 4 / 2.0, "oneDNN at 3 x 2 x 4")
    assert {"torch.mm", "oneDNN"} <= calls[0]
    assert ("native" in calls[0]) == ("native" in available_kernels())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_way_to_multiply_multiplies(dtype, monkeypatch):
    M, K, N = 5, 7, 9
    for name, multiply in limit._ways_to_multiply(dtype, M, K, N).items():
        found = multiply(0)
        dense = found.to_dense() if found.layout == torch._mkldnn else found
        assert torch.equal(dense.float(), torch.full((M, N), float(K))), name


def test_the_sizes_of_the_rates_are_a_large_square_and_the_products_of_a_window():
    assert limit.product_sizes(12, 90, 5) == [(limit.SIDE,) * 3, (12, 5, 20), (12, 20, 5), (12, 5, 90)]


@NEEDS_NATIVE
def test_a_way_in_bfloat16_that_computes_something_else_is_never_timed(tiny_shape, monkeypatch):
    real = training.our_kernels

    class Wrong(type(available_kernels()["native"])):
        def run(self, inputs, w_hh, h0, c0):
            return super().run(inputs, 1.5 * w_hh, h0, c0)

    monkeypatch.setattr(training, "our_kernels", lambda asked: {**real(asked), ours.BFLOAT16: Wrong("bfloat16")})
    with pytest.raises(AssertionError, match="ours, native bfloat16"):
        training.measure("stories", 1)


@NEEDS_NATIVE
def test_the_fastest_is_a_name_that_training_takes_whatever_its_operands(cli, tiny_shape, monkeypatch):
    seconds = lambda ways, rounds: {name: [0.1 if name == ours.BFLOAT16 else 0.2] for name in ways}  # noqa: E731
    monkeypatch.setattr(kernels, "times_in_turn", seconds)
    assert kernels.measure("stories", 1, "bfloat16")["fastest"] == "native"
    assert cli("bench", "kernels", "--precision", "bfloat16", "--store").status == 0
    assert read_choice().kernel == "native"


def test_a_way_that_computes_something_else_is_never_timed(tiny_shape, monkeypatch):
    real = training.torch_model

    def wrong(ours):
        model = real(ours)
        with torch.no_grad():
            model.output.bias += torch.arange(11.0)
        return model

    monkeypatch.setattr(training, "torch_model", wrong)
    with pytest.raises(AssertionError):
        training.measure("stories", 1)


@NEEDS_NATIVE
@pytest.mark.parametrize("what", ["training", "kernels"])
def test_the_command_takes_a_precision(what, cli, tiny_shape):
    done = cli("bench", what, "--repetitions", "1", "--precision", "bfloat16")
    assert done.status == 0, done.err
    assert "native bfloat16" in done.out


def test_generation_takes_no_precision(cli):
    done = cli("bench", "generation", "--precision", "bfloat16")
    assert (done.status, done.out) == (2, "")
    assert "leave it out" in done.err


@pytest.mark.parametrize("what", ["training", "kernels"])
def test_the_command_prints_a_table_or_one_json_object(what, cli, tiny_shape):
    done = cli("bench", what, "--repetitions", "1")
    assert done.status == 0
    assert "torch.nn.LSTM" in done.out
    assert json.loads(cli("bench", what, "--repetitions", "1", "--json").out)["shape"]["hidden_size"] == 8


def test_the_fastest_kernel_is_stored_and_taken_from_then_on(cli, tiny_shape):
    done = cli("bench", "kernels", "--repetitions", "1", "--store")
    fastest = done.out.splitlines()[-1].split(": ")[1]
    assert (select_kernel().kernel.name, select_kernel().reason) == (fastest, MEASURED)
    assert f"now uses {fastest} on this machine" in done.err
    assert json.loads(cli("bench", "kernels", "--repetitions", "1", "--store", "--json").out)["fastest"]


def test_without_being_asked_nothing_is_stored(cli, tiny_shape):
    assert cli("bench", "kernels", "--repetitions", "1").err == ""
    assert read_choice() is None


def test_figures_are_shown_even_where_the_choice_cannot_be_stored(cli, tiny_shape, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("UNROLLED_CACHE", str(tmp_path / "file"))
    done = cli("bench", "kernels", "--repetitions", "1", "--store")
    assert done.status == 2
    assert "our fastest kernel here" in done.out
    assert done.err.startswith("Error: The choice of a kernel could not be stored")
    assert done.err.count("\n") == 1


@pytest.mark.parametrize("what", ["training", "generation"])
def test_only_the_kernels_give_a_choice_to_store(cli, what):
    done = cli("bench", what, "--store")
    assert (done.status, done.out) == (2, "")
    assert "use: bench kernels --store" in done.err


def test_what_cannot_be_measured_is_a_plain_error(cli):
    done = cli("bench", "nothing")
    assert done.status == 2
    assert "nothing" in done.err
    assert "Traceback" not in done.err
