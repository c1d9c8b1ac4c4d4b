"""torch.nn.LSTM in a process of its own: the same steps as here, PyTorch's defaults, one sentence where it ends."""

import os
import re

import pytest
import torch

from tests.bench.conftest import TINY, InThisProcess
from unrolled.bench import torch_by_default, training
from unrolled.bench.torch_by_default import TorchByDefault
from unrolled.errors import UserError


@pytest.fixture
def started(monkeypatch):
    """Note what processes are started with."""
    notes, popen = [], torch_by_default.subprocess.Popen
    monkeypatch.setattr(
        torch_by_default.subprocess,
        "Popen",
        lambda *given, **options: notes.append(options) or popen(*given, **options),
    )
    return notes


def test_its_steps_are_those_of_the_same_model_here_and_its_memory_is_as_by_default(started, monkeypatch):
    for name in ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_ARENA_MAX", "GLIBC_TUNABLES"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("MALLOCATED", "stays")
    here = InThisProcess(TINY)
    with TorchByDefault(TINY) as there:
        assert there.first_loss_nats == pytest.approx(here.first_loss_nats)
        for number in (0, 3, 1):
            assert there.step(number) == pytest.approx(here.step(number), rel=1e-4)
    ((environment,),) = [[options["env"]] for options in started]
    assert {name for name in environment if name.startswith(("MALLOC", "GLIBC"))} == {"MALLOCATED"}
    assert there._process.returncode is not None


def test_a_process_that_does_not_start_is_one_sentence(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: "none")
    with pytest.raises(UserError, match=r"ended with status 1 \(ValueError: invalid literal .*measure again"):
        TorchByDefault(TINY)


def test_a_process_that_ends_early_is_one_sentence():
    with TorchByDefault(TINY) as there:
        there._process.kill()
        with pytest.raises(UserError, match=r"ended with status -9 \(it printed nothing\)"):
            there.step(0)


def test_another_loss_than_that_of_the_tuned_one_is_never_timed(tiny_shape, monkeypatch):
    class Wrong(InThisProcess):
        def __init__(self, shape):
            super().__init__(shape)
            self.first_loss_nats *= 1.01

    monkeypatch.setattr(training, "TorchByDefault", Wrong)
    with pytest.raises(AssertionError, match=re.escape(training.TORCH_DEFAULT)):
        training.measure("stories", 1)


def test_it_stands_behind_the_tuned_one_and_every_way_is_compared_with_both(tiny_shape):
    ways = training.measure("stories", 1)["ways"]
    names = list(ways)
    assert names[names.index(training.TORCH) + 1] == training.TORCH_DEFAULT
    assert all({"times_torch", "times_torch_default"} <= set(way) for way in ways.values())
    assert ways[training.TORCH_DEFAULT]["times_torch_default"] == 1


def test_nothing_but_its_input_keeps_it_alive():
    there = TorchByDefault(TINY)
    there._process.stdin.close()
    assert there._process.wait(60) == 0
    there._open.close()
    assert not os.path.exists(f"/proc/{there._process.pid}")
