"""Why a file from elsewhere is not read. The text of each is a clause that follows the name of the file."""

from __future__ import annotations


class NotPlain(ValueError):
    """A file holds more than tensors and plain containers."""


class Damaged(NotPlain):
    """A file contradicts itself: it was cut off or changed on its way, or made to mislead."""
