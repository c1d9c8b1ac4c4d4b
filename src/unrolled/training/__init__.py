"""Training: from a text to a run directory, and on from where a run stopped.

`start` assembles a run, `fine_tuning` says what it takes from another one, `resuming` continues one, `trainer` is the
loop, `events` are what it reports.
"""

from unrolled.training.events import (
    Evaluated,
    Event,
    Finished,
    Listener,
    Note,
    Previewed,
    RolledBack,
    Started,
    Stepped,
)
from unrolled.training.resuming import resume
from unrolled.training.start import train

__all__ = [
    "Evaluated",
    "Event",
    "Finished",
    "Listener",
    "Note",
    "Previewed",
    "RolledBack",
    "Started",
    "Stepped",
    "resume",
    "train",
]
