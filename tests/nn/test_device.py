"""Which device is chosen on which machine, and what the user is told."""

from __future__ import annotations

import math

import pytest
import torch

from unrolled.errors import UserError
from unrolled.nn import choose_device, device


@pytest.fixture
def machine(monkeypatch):
    """Return a function that gives this machine GPUs, and results to the trial of MPS."""

    def equip(cuda: int = 0, mps: bool = False, trials: dict | None = None) -> None:
        def trial(name: str) -> tuple[float, float]:
            result = trials[name]
            if isinstance(result, Exception):
                raise result
            return result

        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: "Imagined GPU")
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        monkeypatch.setattr(device, "_trial", trial)
        device._mps_if_it_proves_itself.cache_clear()

    equip()
    yield equip
    device._mps_if_it_proves_itself.cache_clear()


def chosen(name: str = "auto") -> tuple[str, str]:
    choice = choose_device(name)
    return str(choice.device), choice.reason


def test_a_machine_without_gpu_computes_on_its_cpu(machine):
    assert chosen() == ("cpu", "no GPU was found")
    assert chosen("cpu") == ("cpu", "as requested")


def test_cuda_is_taken_where_there_is_one(machine):
    machine(cuda=2, mps=True)
    assert chosen() == ("cuda", "found Imagined GPU")
    assert chosen("cpu") == ("cpu", "as requested")
    assert chosen("cuda:1") == ("cuda:1", "as requested")


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "mps"])
def test_a_missing_gpu_is_an_error_with_the_way_out(machine, name):
    with pytest.raises(UserError, match="--device cpu"):
        choose_device(name)


def test_a_gpu_beyond_the_last_is_named_with_the_last(machine):
    machine(cuda=2)
    with pytest.raises(UserError, match=r"no GPU 2 .* last one is cuda:1"):
        choose_device("cuda:2")


UNKNOWN = ["", "gpu", "CUDA", "cuda:", "cuda:x", "cuda:-1", "cuda:²", "cuda:01", "cuda:1:2", "mps:1", "cpu:3", "cpu\n"]


@pytest.mark.parametrize("name", UNKNOWN)
def test_an_unknown_name_is_an_error_that_lists_the_choices(machine, name):
    machine(cuda=4, mps=True)
    with pytest.raises(UserError, match="auto, cpu, cuda, cuda:0 or mps"):
        choose_device(name)


def test_mps_is_taken_on_request_without_a_trial(machine):
    machine(mps=True)
    assert chosen("mps") == ("mps", "as requested")


def test_mps_is_taken_where_it_agrees_and_is_faster(machine):
    machine(mps=True, trials={"cpu": (2.0, 0.6), "mps": (2.0001, 0.2)})
    assert chosen() == ("mps", "MPS passed the check, 3.0x as fast as the CPU")


@pytest.mark.parametrize(
    ("trial", "reason"),
    [
        ((2.1, 0.2), "MPS gave other numbers than the CPU"),
        ((math.nan, 0.2), "MPS gave other numbers than the CPU"),
        ((2.0, 0.9), "MPS was slower (1.5x the CPU's time)"),
        (NotImplementedError("an operation"), "MPS failed the check (NotImplementedError)"),
    ],
)
def test_mps_that_does_not_prove_itself_leaves_the_cpu(machine, trial, reason):
    machine(mps=True, trials={"cpu": (2.0, 0.6), "mps": trial})
    assert chosen() == ("cpu", reason)


@pytest.mark.parametrize("mps", [(2.0, 0.2), (2.1, 0.2), NotImplementedError("an operation")])
def test_mps_is_checked_once_in_a_process_whatever_the_outcome(machine, monkeypatch, mps):
    machine(mps=True, trials={"cpu": (2.0, 0.6), "mps": mps})
    tried, trial = [], device._trial
    monkeypatch.setattr(device, "_trial", lambda name: (tried.append(name), trial(name))[1])
    assert chosen() == chosen() == chosen()
    assert tried == ["cpu", "mps"]


def test_the_trial_is_the_same_on_every_call():
    (first, seconds), (second, _) = (device._trial("cpu", repetitions=1) for _ in range(2))
    assert first == second
    assert first > 0
    assert seconds > 0
