"""The word tokenizer in the format of Hugging Face `tokenizers`: the same rule as replacements, then WordLevel.

The normalizer puts each token on a line of its own; the pre-tokenizer splits at the newlines. A tag has to be found
before lower-casing and survive it, so it is temporarily replaced by a mark, a private-use character. Private-use
characters in the text itself are removed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

FIRST_MARK = 0xF0000
MARKS = "\U000f0000-\U000ffffd"
MAX_TAGS = 65_000
# What Python considers white space, listed because the library's own class lacks U+001C to U+001F.
WHITE_SPACE = r"\x09-\x0d\x1c-\x20\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"


def hugging_face_form(stoi: Mapping[str, int], unknown: str, eos: str | None, tags: Sequence[str]) -> dict[str, Any]:
    """Return the content of `tokenizer.json`.

    Args:
        stoi: the id of each entry.
        unknown: the entry for unknown words.
        eos: the entry for the end of a line, if there is one.
        tags: the entries that are recognized before lower-casing, at the beginning of a line.
    """
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": {"type": "Sequence", "normalizers": _normalizers(eos, tags)},
        "pre_tokenizer": {"type": "Split", "pattern": {"String": "\n"}, "behavior": "Removed", "invert": False},
        "post_processor": None,
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": dict(stoi), "unk_token": unknown},
    }


def tags_in(content: Any) -> list[str]:
    """Return the tags that the content seems to declare; the caller checks whether it is such a file."""
    steps = content.get("normalizer")
    steps = steps.get("normalizers") if isinstance(steps, dict) else None
    contents = [step.get("content") for step in steps or [] if isinstance(step, dict)]
    return [text for text in contents if isinstance(text, str) and text.endswith(":")]


def _normalizers(eos: str | None, tags: Sequence[str]) -> list[dict[str, Any]]:
    marks = {tag: chr(FIRST_MARK + index) for index, tag in enumerate(tags)}
    longest_first = sorted(tags, key=len, reverse=True)
    found = [_replace(rf"(?<![^\n]){_escaped(tag)}", marks[tag] + " ") for tag in longest_first]
    kept = rf"a-z0-9'{WHITE_SPACE}" + (MARKS if tags else "")
    return [
        *([_replace(f"[{MARKS}]", ""), *found] if tags else []),
        {"type": "Lowercase"},
        _replace(f"[^{kept}]", ""),
        _replace(rf"\A[{WHITE_SPACE}]+", ""),
        _replace(rf"[{WHITE_SPACE}]*\n[{WHITE_SPACE}]*", "\n" if eos is None else f"\n{eos}\n"),
        _replace(f"[{WHITE_SPACE}]+", "\n"),
        *({"type": "Replace", "pattern": {"String": marks[tag]}, "content": tag} for tag in tags),
    ]


def _replace(pattern: str, content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"Regex": pattern}, "content": content}


def _escaped(text: str) -> str:
    """Return a pattern for this literal text that does not depend on the regex dialect's special characters."""
    return re.sub(r"[^0-9A-Za-z]", lambda match: rf"\x{{{ord(match.group()):x}}}", text)
