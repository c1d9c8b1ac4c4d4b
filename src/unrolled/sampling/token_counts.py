"""The tokens that a sample contains so far, for the penalties, updated token by token.

Both classes take constant time per token and hold arrays over the vocabulary (V,), so a penalty is a few array
operations, regardless of the length of the text.
"""

from __future__ import annotations

from collections import deque

import numpy as np


class TokenWindow:
    """The tokens that occur among the last `size` ones, or among all if the size is 0."""

    def __init__(self, vocabulary_size: int, size: int) -> None:
        """Start with an empty window."""
        self.seen = np.zeros(vocabulary_size, bool)  # (V,), read-only
        self._size = size
        self._counts = [0] * vocabulary_size
        self._tokens: deque[int] = deque()

    def push(self, token: int) -> None:
        """Add one token, and drop the oldest one if the window is full."""
        self._counts[token] += 1
        self.seen[token] = True
        if self._size == 0:
            return
        self._tokens.append(token)
        if len(self._tokens) > self._size:
            self._forget(self._tokens.popleft())

    def _forget(self, token: int) -> None:
        self._counts[token] -= 1
        if self._counts[token] == 0:
            self.seen[token] = False


class TokenCounts:
    """The number of times that each token was written."""

    def __init__(self, vocabulary_size: int) -> None:
        """Start at zero."""
        self.counts = np.zeros(vocabulary_size)  # (V,), read-only

    def push(self, token: int) -> None:
        """Count one token."""
        self.counts[token] += 1
