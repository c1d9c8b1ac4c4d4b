"""Stop strings: they end generated text, however it is divided into chunks.

The match that is completed first wins; among those completed together, the one that starts first. The text is cut at
the start of the match. Only text that may still become a match is held back: the longest suffix that is a prefix of a
stop string.
"""

from __future__ import annotations

from collections.abc import Sequence


class StopScanner:
    """Passes generated text through until a stop string is complete.

    Args:
        stops: the stop strings, none of them empty.

    Raises:
        ValueError: a stop string is empty.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        if not all(stops):
            raise ValueError("a stop string must not be empty")
        self._stops = tuple(stops)
        self._longest = max(map(len, self._stops), default=0)
        self._held = ""
        self._stopped = False

    def push(self, text: str, may_stop: bool = True) -> tuple[str, bool]:
        """Take more text; return the text that is now certain, and whether a stop string has been completed.

        Args:
            may_stop: if False, stop strings that this text completes pass as ordinary text. One that later text
                completes still counts, wherever it starts.
        """
        if self._stopped:
            return "", True
        seen = self._held + text
        cut = self._first_match(seen) if may_stop else None
        self._stopped = cut is not None
        if cut is None:
            cut = self._hold_from(seen)
        self._held = "" if self._stopped else seen[cut:]
        return seen[:cut], self._stopped

    def flush(self) -> str:
        """Return what was held back, at the end of the text."""
        held, self._held = self._held, ""
        return held

    def _first_match(self, seen: str) -> int | None:
        """Return the start of the match that is completed first in the new text, or None."""
        matches = []
        for stop in self._stops:
            # A match entirely within the held text was completed earlier, with may_stop=False.
            start = seen.find(stop, max(0, len(self._held) - len(stop) + 1))
            if start >= 0:
                matches.append((start + len(stop), start))
        return min(matches)[1] if matches else None

    def _hold_from(self, seen: str) -> int:
        """Return the start of the longest suffix that is a proper prefix of a stop string."""
        for start in range(max(0, len(seen) - self._longest + 1), len(seen)):
            suffix = seen[start:]
            if any(len(suffix) < len(stop) and stop.startswith(suffix) for stop in self._stops):
                return start
        return len(seen)
