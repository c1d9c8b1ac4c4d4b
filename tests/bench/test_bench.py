"""What `unrolled bench` counts and prints; never how long anything took."""

import json

import pytest
import torch

from unrolled.bench import kernels, training
from unrolled.bench.limit import kept_for_backward_bytes, products_in_operations
from unrolled.bench.training import Shape
from unrolled.kernels import available_kernels

TINY = Shape(embedding_size=5, hidden_size=8, layers=2, vocabulary_size=11, window=6, batch_size=3)


@pytest.fixture
def tiny_shape(monkeypatch):
    for module in (training, kernels):
        monkeypatch.setattr(module, "SHAPES", {"stories": TINY})
    monkeypatch.setattr(training, "best_rate", lambda dtype: 1e9)


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


def test_training_times_every_way_that_there_is(tiny_shape):
    result = training.measure("stories", 1)
    ours = {f"ours, {name}" for name in available_kernels()}
    assert ours | {training.SEEDS_WAY, training.TORCH} <= set(result["ways"])
    assert result["ways"][training.TORCH]["times_torch"] == 1
    assert set(result["kept_bytes_per_layer_row_and_step"]) == set(available_kernels())


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


@pytest.mark.parametrize("what", ["training", "kernels"])
def test_the_command_prints_a_table_or_one_json_object(what, cli, tiny_shape):
    done = cli("bench", what, "--repetitions", "1")
    assert done.status == 0
    assert "torch.nn.LSTM" in done.out
    assert json.loads(cli("bench", what, "--repetitions", "1", "--json").out)["shape"]["hidden_size"] == 8


def test_what_cannot_be_measured_is_a_plain_error(cli):
    done = cli("bench", "nothing")
    assert done.status == 2
    assert "nothing" in done.err
    assert "Traceback" not in done.err
