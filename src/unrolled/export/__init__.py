"""Models out: in the forms that other tools read."""

from unrolled.export.state_dict import export_torch, torch_state_dict

__all__ = ["export_torch", "torch_state_dict"]
