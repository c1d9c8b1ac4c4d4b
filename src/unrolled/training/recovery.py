"""Recovery from a loss that went wrong (`guard` decides that): back to the last good state, at half the learning rate.

The place in the text is not restored: the bad batch may have been the reason, so training continues after it. A state
from which training fails at once was not good either, and the one before it is used.
"""

from __future__ import annotations

import math

from unrolled.errors import UserError
from unrolled.runs import Checkpoint
from unrolled.training.checkpointing import LoopState, restore_learned
from unrolled.training.events import RolledBack
from unrolled.training.progress import Progress
from unrolled.training.run_files import RunFiles

LOWEST_RATE_FACTOR = 2**-12


class LastGood:
    """The last two good states; the newer one is the checkpoint on disk once it has been written.

    Args:
        files: where checkpoints are written.
        checkpoint: the state that training begins with.
    """

    def __init__(self, files: RunFiles, checkpoint: Checkpoint) -> None:
        self._files = files
        self._states = [checkpoint]  # the newest at the end

    def write(self) -> None:
        """Write the newest state."""
        self._files.write_checkpoint(self._states[-1])

    def add(self, checkpoint: Checkpoint) -> None:
        """Keep a new state, write it, and forget all but the one before it."""
        self._states = [*self._states[-1:], checkpoint]
        self.write()

    def before_failure(self, step: int) -> Checkpoint:
        """Return the newest state, or the one before it where training fails right after the newest.

        The state of the best weights is never dropped: it has proved itself on the validation text.
        """
        newest = Progress.from_checkpoint(self._states[-1])
        if len(self._states) > 1 and step == newest.step != newest.best_step:
            self._states.pop()
            self.write()
        return self._states[-1]


def roll_back(loop: LoopState, last_good: LastGood, reason: str) -> RolledBack:
    """Restore the last good weights and halve the learning rate; return what happened.

    Raises:
        UserError: that has happened too often.
    """
    factor = _halved_rate_factor(loop.progress, reason)
    step, seconds = loop.progress.step, loop.progress.seconds
    restore_learned(loop, last_good.before_failure(step))
    loop.hidden = None
    loop.progress.rate_factor, loop.progress.seconds, loop.progress.evaluation_pending = factor, seconds, False
    return RolledBack(step, loop.progress.step, reason, factor)


def _halved_rate_factor(progress: Progress, reason: str) -> float:
    factor = progress.rate_factor / 2
    if factor < LOWEST_RATE_FACTOR:
        raise UserError(
            f"Training failed again at step {progress.step:,} ({reason}), although the learning rate was halved "
            f"{-math.log2(progress.rate_factor):.0f} times; start again with a lower training.learning_rate or "
            "training.clip_norm, or with a higher training.spike_factor where the text itself changes abruptly."
        )
    return factor
