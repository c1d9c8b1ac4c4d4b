"""What a run computes with: device, kernel, precision, and the reasons for each."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from unrolled.config import Settings
from unrolled.errors import UserError
from unrolled.kernels import KernelChoice, PrecisionChoice, available_kernels, choose_precision, select_kernel
from unrolled.kernels.native import NativeKernel
from unrolled.kernels.precision import PRECISIONS
from unrolled.native import native_status
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
        raise UserError(f"The kernel {name} is not available here ({native_status()}); use --set training.kernel=auto.")
    choose_machine(settings, None)


def choose_machine(settings: Settings, checkpoint: Checkpoint | None) -> Machine:
    """Choose; where a setting is `auto`, a resumed run keeps what it began with.

    Raises:
        UserError: the requested device or precision is not available.
    """
    device = choose_device(settings.training.device)
    before = {} if checkpoint is None else checkpoint.counters
    same = before.get("device") == device.device.type
    kernel = _kernel(settings.training.kernel, device.device.type, before.get("kernel") if same else None)
    precision = _precision(settings.training.precision, kernel, device, before.get("precision") if same else None)
    if isinstance(kernel.kernel, NativeKernel):
        kernel = KernelChoice(NativeKernel(precision.precision), kernel.reason)
    return Machine(device, kernel, precision)


def _kernel(name: str, device_type: str, before: object) -> KernelChoice:
    if name == "auto" and isinstance(before, str) and before in available_kernels():
        return KernelChoice(available_kernels()[before], "as the run was begun")
    return select_kernel(name, device_type)


def _precision(name: str, kernel: KernelChoice, device: DeviceChoice, before: object) -> PrecisionChoice:
    try:
        if name == "auto" and before in PRECISIONS:
            kept = choose_precision(str(before), kernel.kernel.name, device.device.type)
            return PrecisionChoice(kept.precision, "as the run was begun")
        return choose_precision(name, kernel.kernel.name, device.device.type)
    except ValueError as error:
        if name == "auto":
            return choose_precision(name, kernel.kernel.name, device.device.type)
        raise UserError(f"{error}"[0].upper() + f"{error}"[1:]) from None
