"""Encoding 20 MB of text: our character tokenizer against the same vocabulary in Hugging Face `tokenizers`.

    python benchmarks/encoding.py [--json] [--repetitions 5]

The library reads the `tokenizer.json` that we write; before anything is timed, both must give the same ids. The text is
the stories of the package, over and over. Printed: medians in seconds, and the memory that encoding takes beyond the
text, in bytes a character (peak of the allocations during the call).
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers

from unrolled.bench.side_by_side import circumstances, median_ratio, times_in_turn
from unrolled.sources.sources import read_sources
from unrolled.text.characters import CharacterTokenizer

CHARACTERS = 20_000_000
LIBRARY_CHARACTERS = 200_000  # the library is some hundred times slower


def stories(characters: int) -> str:
    """Return so much of the package's stories, again and again."""
    text = "".join(read_sources(["builtin:stories"]))
    return (text * (characters // len(text) + 1))[:characters]


def the_same_in_the_library(ours: CharacterTokenizer) -> tokenizers.Tokenizer:
    """Return the library's reading of the file that we save."""
    with tempfile.TemporaryDirectory() as folder:
        ours.save(Path(folder))
        return tokenizers.Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))


def peak_bytes(ours: CharacterTokenizer, text: str) -> int:
    """Return the most memory that encoding holds at once, the ids included."""
    tracemalloc.start()
    ours.encode(text)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def measure(repetitions: int) -> dict[str, Any]:
    """Return median seconds for 20 million characters, and bytes a character."""
    text = stories(CHARACTERS)
    part = text[:LIBRARY_CHARACTERS]
    ours = CharacterTokenizer.from_characters(set(text))
    library = the_same_in_the_library(ours)
    if not np.array_equal(ours.encode(part), library.encode(part).ids):
        raise SystemExit("the two do not agree")
    seconds = times_in_turn(
        {
            "whole": lambda _: ours.encode(text),
            "part": lambda _: ours.encode(part),
            "library": lambda _: library.encode(part),
        },
        repetitions,
    )
    return {
        **circumstances(repetitions),
        "characters": len(text),
        "utf8_megabytes": len(text.encode()) / 1e6,
        "seconds": statistics.median(seconds["whole"]),
        "bytes_per_character": peak_bytes(ours, text) / len(text),
        "times_as_fast_as_tokenizers": median_ratio(seconds["library"], seconds["part"]),
    }


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--repetitions", type=int, default=5)
    arguments = parser.parse_args()
    result = measure(arguments.repetitions)
    if arguments.json:
        print(json.dumps(result, indent=2))
        return
    print(f"{result['machine']}: {result['utf8_megabytes']:.1f} MB encoded in {result['seconds']:.3f} s")
    print(f"{result['bytes_per_character']:.2f} bytes a character beyond the text")
    print(f"{result['times_as_fast_as_tokenizers']:.0f} times as fast as tokenizers {tokenizers.__version__}")


if __name__ == "__main__":
    main()
