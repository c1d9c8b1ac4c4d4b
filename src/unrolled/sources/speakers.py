"""A record's speaker as the tag that its text begins with: `GANDALF: You shall not pass!`."""

from __future__ import annotations

from collections import Counter


def tagged(speaker: str, text: str, missing: Counter[str]) -> str:
    """Return the text after its speaker's tag.

    Args:
        speaker: the cell or field; white space in it counts as single spaces; nothing but white space is no speaker.
        text: the record.
        missing: its `"speaker"` grows by one where there is no speaker, and the text stays as it is.
    """
    if name := " ".join(speaker.split()):
        return f"{name}: {text.lstrip()}"
    missing["speaker"] += 1
    return text


def missing_note(missing: Counter[str], speaker: str, name: str) -> list[str]:
    """Return a note about the records of the file `name` without a speaker, or none."""
    count = missing["speaker"]
    return [f"{count:,} records of {name} have no {speaker!r}; they stand without a tag."] if count else []
