"""Which tokens a sample contains so far, for the penalties, updated token by token.

Both classes take constant time for each token and hold arrays over the vocabulary (V,), so that a penalty is a few
array operations, however long the text.
"""

from __future__ import annotations

from collections import deque

import numpy as np


class TokenWindow:
    """Which tokens occur among the last `size` ones, or among all where the size is 0."""

    def __init__(self, vocabulary_size: int, size: int) -> None:
        """Start with an empty window."""
        self.seen = np.zeros(vocabulary_size, bool)  # (V,), for reading only
        self._size = size
        self._counts = [0] * vocabulary_size
        self._tokens: deque[int] = deque()

    def push(self, token: int) -> None:
        """Add one token, and drop the oldest one where the window is full."""
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
    """How often each token was written."""

    def __init__(self, vocabulary_size: int) -> None:
        """Start at zero."""
        self.counts = np.zeros(vocabulary_size)  # (V,), for reading only

    def push(self, token: int) -> None:
        """Count one token."""
        self.counts[token] += 1
