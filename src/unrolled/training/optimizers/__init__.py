"""Optimizers of a model's parameters: AdamW, Muon, and the two together as one."""

from unrolled.training.optimizers.muon import Muon
from unrolled.training.optimizers.optimizer import Optimizer, clip_gradients

__all__ = ["Muon", "Optimizer", "clip_gradients"]
