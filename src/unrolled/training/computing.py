"""What a run computes with: device, kernel, precision, and the reasons for each."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from unrolled.config import Settings
from unrolled.errors import UserError
from unrolled.kernels import (
    Kernel,
    KernelChoice,
    PrecisionChoice,
    available_kernels,
    choose_precision,
    kernel_availability,
    select_kernel,
)
from unrolled.nn import DeviceChoice, choose_device
from unrolled.runs import Checkpoint


@dataclass(frozen=True)
class Machine:
    """Where and how a run is computed."""

    device: DeviceChoice
    kernel: KernelChoice
    precision: PrecisionChoice

    def noted(self) -> dict[str, str | int]:
        """Return what a checkpoint records of it: each choice rounds differently."""
        return {
            "threads": torch.get_num_threads(),
            "kernel": self.kernel.kernel.name,
            "precision": self.precision.precision,
            "device": self.device.device.type,
        }


def check_machine(settings: Settings) -> None:
    """Report a missing GPU, kernel or precision before the text is read and a run is made."""
    name = settings.training.kernel
    if name != "auto" and name not in available_kernels():
        reason = kernel_availability(name).description
        raise UserError(f"The kernel {name} is not available here ({reason}); use --set training.kernel=auto.")
    choose_machine(settings, None)


def choose_machine(settings: Settings, checkpoint: Checkpoint | None) -> Machine:
    """Choose; where a setting is `auto`, a resumed run keeps what it began with.

    Raises:
        UserError: the requested device or precision is not available.
    """
    device = choose_device(settings.training.device)
    before = {} if checkpoint is None else checkpoint.counters
    same = before.get("device") == device.device.type
    chosen = _kernel(settings.training.kernel, device.device.type, before.get("kernel") if same else None)
    asked = settings.training.precision, before.get("precision") if same else None
    precision = _precision(*asked, chosen.kernel, device.device.type)
    kernel = chosen.kernel.with_precision(precision.precision)
    return Machine(device, KernelChoice(kernel, chosen.reason), precision)


def _kernel(name: str, device_type: str, before: object) -> KernelChoice:
    if name == "auto" and isinstance(before, str) and before in available_kernels():
        return KernelChoice(available_kernels()[before], "as the run was begun")
    return select_kernel(name, device_type)


def _precision(name: str, before: object, kernel: Kernel, device_type: str) -> PrecisionChoice:
    if name == "auto" and before in kernel.precisions(device_type):
        return PrecisionChoice(str(before), "as the run was begun")
    try:
        return choose_precision(name, kernel, device_type)
    except ValueError as error:
        raise UserError(f"{error}"[0].upper() + f"{error}"[1:]) from None
