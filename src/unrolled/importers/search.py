"""Where the files of a model from elsewhere are: in a folder, in the order of names that its authors used.

lotr_lstm_lm.pt (or lotr-lstm_lm.pt), best-val-lstm_lm.pt, story_lstm_scratch_full.pt, else the only .pt there is;
vocab.pkl, vocab_char_full.json or vocab.json beside it, if present
"""

from __future__ import annotations

from pathlib import Path

from unrolled.errors import UserError

CHECKPOINTS = ("lotr_lstm_lm.pt", "lotr-lstm_lm.pt", "best-val-lstm_lm.pt", "story_lstm_scratch_full.pt")
SUFFIXES = (".pt", ".pth")
WORDS = ("vocab.pkl", "vocab_char_full.json", "vocab.json")
CHARACTERS = ("vocab_char_full.json", "vocab.json", "vocab.pkl")


def holds_only_foreign_files(folder: Path) -> bool:
    """Tell whether a folder is not a run and holds something that may be a checkpoint from elsewhere."""
    return folder.is_dir() and not (folder / "config.json").exists() and bool(_others(folder))


def checkpoint_in(folder: Path) -> Path:
    """Return the checkpoint that the search order prefers.

    Raises:
        UserError: there is no checkpoint, or there are several with unknown names.
    """
    for name in CHECKPOINTS:
        if (folder / name).exists():
            return folder / name
    others = _others(folder)
    if len(others) == 1:
        return others[0]
    if others:
        names = ", ".join(path.name for path in others[:8]) + (" ..." if len(others) > 8 else "")
        raise UserError(f"{folder} holds several checkpoints: {names}; give the path of one of them.")
    raise UserError(
        f"{folder} holds no model: neither a run of unrolled (config.json) nor a checkpoint from elsewhere "
        f"({', '.join(CHECKPOINTS)}, or a single {' or '.join(SUFFIXES)} file)."
    )


def vocabulary_beside(checkpoint: Path, characters: bool) -> Path | None:
    """Return the vocabulary next to a checkpoint.

    Args:
        characters: the checkpoint's layout is one that people use for characters.
    """
    for name in CHARACTERS if characters else WORDS:
        if (checkpoint.parent / name).exists():
            return checkpoint.parent / name
    return None


def _others(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
