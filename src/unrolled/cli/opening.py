"""Loading a model for a command, and printing its warnings."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unrolled.trained import TrainedModel


def open_model(run: str, device: str = "cpu", decoding: str = "float32") -> TrainedModel:
    """Load a model; print its warnings, and a decoding precision other than float32, to standard error."""
    from unrolled.cli.printing import remark
    from unrolled.trained import load

    model = load(run, device, decoding)
    for warning in model.warnings:
        remark(f"Warning: {warning}")
    if model.decoding_note is not None:
        remark(model.decoding_note)
    return model
