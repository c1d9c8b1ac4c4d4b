"""Which device computes, and why: CUDA if available, else the CPU; MPS on request or if it passes a check.

Files never record a device. LSTMs on Apple's MPS have been slow or wrong in several PyTorch releases, so `auto` chooses
it only after a check of at most a few seconds: the same gradient as the CPU, and faster.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from functools import cache

import torch

from unrolled.config import ModelSettings
from unrolled.errors import UserError


@dataclass(frozen=True)
class DeviceChoice:
    """A device and the reason for it, for the user."""

    device: torch.device
    reason: str


def choose_device(name: str = "auto") -> DeviceChoice:
    """Choose the device called `name`: auto, cpu, cuda, cuda:N or mps.

    Raises:
        UserError: the name is unknown, or the machine does not have that device.
    """
    if name == "auto":
        return _automatic()
    if not re.fullmatch("cpu|mps|cuda(:(0|[1-9][0-9]*))?", name):
        raise UserError(f"There is no device named {name!r}; choose auto, cpu, cuda, cuda:0 or mps.")
    kind, _, index = name.partition(":")
    if kind == "cuda" and not torch.cuda.is_available():
        raise UserError("No CUDA GPU was found on this machine; leave out --device or use --device cpu.")
    if kind == "cuda" and index and int(index) >= torch.cuda.device_count():
        last = torch.cuda.device_count() - 1
        raise UserError(f"There is no GPU {index} on this machine; the last one is cuda:{last}.")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise UserError("This machine has no Apple GPU for PyTorch; leave out --device or use --device cpu.")
    return DeviceChoice(torch.device(name), "as requested")


def _automatic() -> DeviceChoice:
    if torch.cuda.is_available():
        return DeviceChoice(torch.device("cuda"), f"found {torch.cuda.get_device_name()}")
    if torch.backends.mps.is_available():
        return _mps_if_it_proves_itself()
    return DeviceChoice(torch.device("cpu"), "no GPU was found")


@cache
def _mps_if_it_proves_itself() -> DeviceChoice:
    """Compare the gradient of a training step on the CPU and on MPS, then the time of each; once in a process."""
    try:
        cpu_norm, cpu_seconds = _trial("cpu")
        mps_norm, mps_seconds = _trial("mps")
    except RuntimeError as error:
        return DeviceChoice(torch.device("cpu"), f"MPS failed the check ({type(error).__name__})")
    if not abs(cpu_norm - mps_norm) <= 1e-3 * cpu_norm:  # written so that a NaN fails
        return DeviceChoice(torch.device("cpu"), "MPS gave other numbers than the CPU")
    if mps_seconds >= cpu_seconds:
        return DeviceChoice(torch.device("cpu"), f"MPS was slower ({mps_seconds / cpu_seconds:.1f}x the CPU's time)")
    return DeviceChoice(
        torch.device("mps"), f"MPS passed the check, {cpu_seconds / mps_seconds:.1f}x as fast as the CPU"
    )


def _trial(device: str, repetitions: int = 3) -> tuple[float, float]:
    """Return the gradient's norm of a training step of a small model, and its best time in seconds."""
    from unrolled.nn.model import LanguageModel  # only needed for the check

    model = LanguageModel(ModelSettings(), 90, torch.Generator().manual_seed(1)).to(device)
    ids = torch.randint(90, (64, 33), generator=torch.Generator().manual_seed(2)).to(device)
    seconds = []
    for _ in range(repetitions):
        started = time.perf_counter()
        model.zero_grad()
        loss, _ = model.loss_nats(ids[:, :-1], ids[:, 1:])
        loss.backward()
        norm = torch.stack([p.grad.norm() for p in model.parameters()]).norm().item()
        seconds.append(time.perf_counter() - started)
    return norm, min(seconds)
