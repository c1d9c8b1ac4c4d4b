"""The speaker of a record, as a tag before its text: `GANDALF: You shall not pass!`."""

from __future__ import annotations

from collections import Counter


def tagged(speaker: str, text: str, missing: Counter[str]) -> str:
    """Return the text with its speaker's tag in front.

    Args:
        speaker: the cell or field; runs of white space count as one space, and white space alone means no speaker.
        text: the record, which is returned unchanged if there is no speaker.
        missing: its `"speaker"` is increased by one if there is no speaker.
    """
    if name := " ".join(speaker.split()):
        return f"{name}: {text.lstrip()}"
    missing["speaker"] += 1
    return text


def missing_note(missing: Counter[str], speaker: str, name: str) -> list[str]:
    """Return a note about records of the file `name` without a speaker, in a list that is empty if there are none."""
    count = missing["speaker"]
    return [f"{count:,} records of {name} have no {speaker!r}; they get no tag."] if count else []
