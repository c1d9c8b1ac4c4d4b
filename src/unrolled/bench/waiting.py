"""What a training step has to wait for: its batch, and its part of encoding the text.

Both are measured on a file of the package's stories, over and over: `prepare_corpus` whole (reading, hashing,
splitting, the vocabulary, encoding), and the two batchers that training uses, on the ids that it leaves on disk.
A text is encoded once and read many times; the preset with the fewest passes over its text, `stories-fast` on the
tales, makes ten of them.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import torch

from unrolled.bench.side_by_side import times_in_turn
from unrolled.config import DataSettings
from unrolled.data import Corpus, RandomWindows, Streams, prepare_corpus
from unrolled.shipped import BUNDLED_STORIES
from unrolled.sources import read_sources

CHARACTERS = 2_000_000
PASSES = 10
ROUNDS = 30


def waiting(kind: str, batch_size: int, window: int) -> dict[str, float]:
    """Return milliseconds a step for each batcher and for encoding, spread over the passes.

    Args:
        kind: of the tokens, as in `data.tokenizer`.
        batch_size, window: rows and tokens of a row in a batch.
    """
    with tempfile.TemporaryDirectory() as folder:
        corpus, seconds_per_token = _encoded(Path(folder), kind)
        ids = corpus.train.ids
        batchers = {
            "random_windows": RandomWindows(ids, batch_size, window, torch.Generator().manual_seed(1)),
            "streams": Streams(ids, batch_size, window),
        }
        ways = {name: lambda _, batcher=batcher: batcher.next_batch() for name, batcher in batchers.items()}
        seconds = {name: statistics.median(values) for name, values in times_in_turn(ways, ROUNDS).items()}
    seconds["encoding"] = seconds_per_token * batch_size * window / PASSES
    return {f"{name}_milliseconds": round(1000 * value, 4) for name, value in seconds.items()}


def share_of_step(milliseconds: dict[str, float], step_seconds: float) -> float:
    """Return the share of a step's time that encoding and the slower batcher take."""
    batch = max(value for name, value in milliseconds.items() if not name.startswith("encoding"))
    return (batch + milliseconds["encoding_milliseconds"]) / (1000 * step_seconds)


def _encoded(folder: Path, kind: str) -> tuple[Corpus, float]:
    """Return a corpus made in the folder, and the seconds that each of its tokens took."""
    story = "".join(read_sources([BUNDLED_STORIES]))
    text = folder / "stories.txt"
    text.write_text(story * -(-CHARACTERS // len(story)), "utf-8")
    started = time.perf_counter()
    corpus = prepare_corpus([str(text)], DataSettings(tokenizer=kind), cache_folder=folder)
    return corpus, (time.perf_counter() - started) / (corpus.train.tokens + corpus.valid.tokens)
