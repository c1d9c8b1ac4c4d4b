"""What a run records about its origin: the text's names, sizes and hash, the versions that made it, its base.

`config.json` and the model card are meant to be shared, so sources appear there without their folders. Absolute paths,
which resuming needs, are stored in the checkpoint only.
"""

from __future__ import annotations

import datetime
import os
import platform
import re
from collections.abc import Sequence
from pathlib import Path

import torch

from unrolled.config import Settings
from unrolled.data import Corpus
from unrolled.runs import RunConfig
from unrolled.training.fine_tuning import Base
from unrolled.version import __version__


def run_config(
    settings: Settings, corpus: Corpus, preset: str, sources: list[str], command: str, base: Base | None
) -> RunConfig:
    """Return the configuration of a new run, with its origin: text, versions, command, base."""
    return RunConfig(
        settings=settings,
        vocabulary_size=corpus.tokenizer.vocabulary_size,
        tokenizer_sha256=corpus.tokenizer.fingerprint,
        preset=preset,
        corpus={
            "names": [public_name(source) for source in sources],
            "content_sha256": corpus.content_sha256,
            "train_tokens": corpus.train.tokens,
            "train_characters": corpus.train.characters,
            "valid_tokens": corpus.valid.tokens,
            "valid_characters": corpus.valid.characters,
            **_size_of_test(corpus),
        },
        made_with={
            "unrolled": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "machine": f"{platform.system()} {platform.machine()}",
        },
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        command=command,
        fine_tuned_from=None if base is None else base.sha256,
        warnings=[] if base is None else list(base.warnings),
    )


def _size_of_test(corpus: Corpus) -> dict[str, int]:
    """Return the sizes of the part that only tests, for texts that have one."""
    test = corpus.test
    return {} if test is None else {"test_tokens": test.tokens, "test_characters": test.characters}


def source_names(sources: str | Path | Sequence[str | Path]) -> list[str]:
    """Return one source or several as a list of strings."""
    return [str(sources)] if isinstance(sources, (str, Path)) else [str(source) for source in sources]


def absolute_source(source: str) -> str:
    """Make a source independent of the working directory; only the checkpoint holds this, never a file to be shared."""
    return source if source == "-" or source.startswith("builtin:") else str(Path(source).absolute())


def public_name(source: str) -> str:
    """Return a source's name without the folders above it."""
    if source == "-" or source.startswith("builtin:"):
        return {"-": "standard input"}.get(source, source)
    table = None if Path(source).exists() else re.search(r"\.(csv|jsonl|ndjson):", source, re.IGNORECASE)
    path, column = (source, "") if table is None else (source[: table.end() - 1], source[table.end() - 1 :])
    return Path(os.path.abspath(path)).name + column
