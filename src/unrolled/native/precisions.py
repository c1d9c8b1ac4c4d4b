"""The kinds of operands that the C library multiplies: the one list of its precisions."""

from __future__ import annotations

import torch

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
