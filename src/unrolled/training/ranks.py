"""The processes that train one model together, each on its own batches; by default one process alone.

Distributed training subclasses `Ranks` and gives it to the trainer in `Job.ranks`. All ranks begin with equal weights
and make the same decisions, because each of them judges the combined loss and evaluates the same weights on the same
text. What else must agree comes from the caller: a `StopRequest` that stops all ranks at the same step, and settings
without a budget of minutes unless the clock is shared. Only one rank writes the run.
"""

from __future__ import annotations

from torch import nn


class Ranks:
    """One process alone.

    Attributes:
        writes: whether this rank writes the run's files; true for rank 0 only.
    """

    writes = True

    def combine(self, model: nn.Module, loss_nats: float, targets: int) -> tuple[float, int]:
        """Replace this rank's gradients by those of all ranks' batches together.

        Args:
            model: after the backward pass, before gradients are clipped.
            loss_nats: the mean loss of this rank's batch.
            targets: the number of targets in it; means are weighted by it.

        Returns:
            The mean loss and the number of targets of all batches together.
        """
        return loss_nats, targets
