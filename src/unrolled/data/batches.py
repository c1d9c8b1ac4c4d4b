"""Batches of token ids for training: inputs, and the same text shifted by one token as targets.

    RandomWindows: B windows of T tokens anywhere in the text, each read from a zero state (preset `stories`).
    Streams: the text cut into B contiguous streams that are read side by side, T tokens a batch, with the state carried
    from batch to batch (truncated backpropagation through time).

N tokens of text, B sequences a batch, T tokens of a sequence (the window). Both can save their position and continue
exactly there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from unrolled.data.stored_ids import StoredIds

Ids = npt.NDArray[np.unsignedinteger]
FEWEST_WINDOWS = 4  # a short text is cut into about as many windows, so that they differ


@dataclass(frozen=True)
class Batch:
    """Inputs and targets (B, T), int64; `starts_fresh` says that the hidden state is zero before this batch."""

    inputs: Tensor
    targets: Tensor
    starts_fresh: bool


class Batcher(Protocol):
    """An endless source of batches with a position that can be saved."""

    batch_size: int
    window: int

    @property
    def batches_per_epoch(self) -> int: ...

    def next_batch(self) -> Batch: ...

    def position(self) -> dict[str, Tensor]:
        """Return all that is needed to resume exactly, as tensors."""

    def restore(self, position: Mapping[str, Tensor]) -> None:
        """Continue from the position of a batcher with the same text and sizes."""


class RandomWindows:
    """Windows that start anywhere, drawn uniformly from all N - T starts.

    Args:
        ids: the text (N,).
        batch_size, window: B and T; the text must hold T + 1 tokens.
        generator: the only source of randomness, on the CPU; its state is the position.

    Raises:
        ValueError: the text is shorter than one window and its last target.
    """

    def __init__(self, ids: Ids | StoredIds, batch_size: int, window: int, generator: torch.Generator) -> None:
        _check_sizes(len(ids), batch_size, window, needed=window + 1)
        self._ids = ids if isinstance(ids, StoredIds) else np.asarray(ids)
        self.batch_size = batch_size
        self.window = window
        self._generator = generator

    @property
    def batches_per_epoch(self) -> int:
        """Batches that read as many tokens as the text has (rounded up)."""
        return -(-(len(self._ids) - 1) // (self.batch_size * self.window))

    def next_batch(self) -> Batch:
        """Return the next B windows; every one is read from a zero state."""
        starts = torch.randint(len(self._ids) - self.window, (self.batch_size,), generator=self._generator)
        return _batch(_windows(self._ids, starts.numpy(), self.window + 1), starts_fresh=True)

    def position(self) -> dict[str, Tensor]:
        return {"generator": self._generator.get_state()}

    def restore(self, position: Mapping[str, Tensor]) -> None:
        self._generator.set_state(position["generator"])


class Streams:
    """B contiguous streams of (N - 1) // B inputs; batch k reads the columns k T to k T + T - 1 of all of them.

    The last batch of an epoch holds the columns that are left, so it may be shorter than T. Of the text, only the
    remainder of the division among the streams is never read.

    Args:
        ids: the text (N,).
        batch_size, window: B and T; each stream must hold one input and its target.

    Raises:
        ValueError: there are more streams than predictable tokens.
    """

    def __init__(self, ids: Ids | StoredIds, batch_size: int, window: int) -> None:
        _check_sizes(len(ids), batch_size, window, needed=batch_size + 1)
        self._ids = ids if isinstance(ids, StoredIds) else np.asarray(ids)
        self.batch_size = batch_size
        self.window = window
        self._columns = (len(ids) - 1) // batch_size
        self._starts = np.arange(batch_size) * self._columns
        self._next_column = 0

    @property
    def batches_per_epoch(self) -> int:
        return -(-self._columns // self.window)

    def next_batch(self) -> Batch:
        """Return the next columns; the first batch of an epoch starts from a zero state."""
        first = self._next_column
        last = min(first + self.window, self._columns)
        self._next_column = last % self._columns
        rows = _windows(self._ids, self._starts + first, last + 1 - first)
        return _batch(rows, starts_fresh=first == 0)

    def position(self) -> dict[str, Tensor]:
        return {"next_column": torch.tensor(self._next_column)}

    def restore(self, position: Mapping[str, Tensor]) -> None:
        column = int(position["next_column"])
        if not 0 <= column < self._columns:
            raise ValueError(f"the position {column} lies outside the {self._columns} columns of this text")
        self._next_column = column


def fit_to_text(tokens: int, batch_size: int, window: int, batching: str) -> tuple[int, int, str | None]:
    """Shrink window and batch until one batch fits into a text of `tokens` tokens.

    The window shrinks first, to a quarter of the text where the batch has four sequences or more, then the batch.

    Returns:
        batch size, window, and a note for the user if they are not the requested ones.

    Raises:
        ValueError: fewer than two tokens, sizes below one, or an unknown batching.
    """
    if batching not in ("windows", "streams"):
        raise ValueError(f"batching must be 'windows' or 'streams', got {batching!r}")
    _check_sizes(tokens, batch_size, window, needed=2)
    predictable = tokens - 1
    if batch_size * window <= predictable:
        return batch_size, window, None
    fitting_window = min(window, max(1, predictable // min(batch_size, FEWEST_WINDOWS)))
    fitting_batch = min(batch_size, predictable // fitting_window)
    note = (
        f"The text has {tokens:,} tokens; using batch {fitting_batch} and window {fitting_window}; expect memorisation."
    )
    return fitting_batch, fitting_window, note


def _check_sizes(tokens: int, batch_size: int, window: int, needed: int) -> None:
    if batch_size < 1 or window < 1:
        raise ValueError(f"batch size and window must be at least 1, got {batch_size} and {window}")
    if tokens < needed:
        raise ValueError(f"a text of {tokens} tokens is too short: batch {batch_size}, window {window} need {needed}")


def _windows(ids: Ids | StoredIds, starts: npt.NDArray[np.int64], length: int) -> Ids:
    """Return the `length` ids from each of the B starts on, (B, length)."""
    if isinstance(ids, StoredIds):
        return ids.windows(starts, length)
    return ids[starts[:, None] + np.arange(length)]


def _batch(rows: Ids, starts_fresh: bool) -> Batch:
    """Split rows (B, T + 1) into inputs and targets."""
    tokens = torch.from_numpy(rows.astype(np.int64))
    return Batch(tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous(), starts_fresh)
