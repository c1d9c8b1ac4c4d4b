"""Which weights are evaluated, previewed and kept as the best.

By default those that the optimizer updates. Methods that evaluate other weights made of them, such as averages over
steps (Polyak and Juditsky 1992, https://doi.org/10.1137/0330046), subclass `EvaluatedWeights` and are given to the
trainer in `Job.evaluated`; training itself always continues from the optimizer's weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

from torch import Tensor

from unrolled.nn import LanguageModel


class EvaluatedWeights:
    """The optimizer's own weights: every method is neutral.

    What a subclass keeps belongs in `tensors`, so that a resumed run continues exactly. `largest_checkpoint_bytes` in
    `resuming` bounds the size of a checkpoint and has to count these tensors.
    """

    def after_step(self, model: LanguageModel) -> None:
        """Take in the weights after an optimizer step."""

    def after_evaluation(self, loss_nats: float, is_best: bool) -> None:
        """Take in the loss of an evaluation, which may decide what is evaluated next."""

    def swapped_in(self, model: LanguageModel) -> AbstractContextManager[None]:
        """Give the model the weights to evaluate; on leaving, however that happens, give it back the optimizer's."""
        return nullcontext()

    def tensors(self) -> dict[str, Tensor]:
        """Return what a checkpoint must hold, by name."""
        return {}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what `tensors` returned; an empty mapping means the beginning of a run.

        Raises:
            ValueError: the tensors belong to another class of evaluated weights.
        """
        if tensors:
            raise ValueError("the checkpoint holds weights for evaluation, which this run does not keep")
