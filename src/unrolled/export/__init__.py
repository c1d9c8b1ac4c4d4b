"""Models out: in the forms that other tools read."""

from unrolled.export.torch_file import export_torch, torch_state_dict

__all__ = ["export_torch", "torch_state_dict"]
