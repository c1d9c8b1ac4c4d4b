"""The model card, `README.md` of a run: what the model is, its text, its results, how it was made, how to use it."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

from unrolled.runs.atomic import write_atomically
from unrolled.runs.folder import RunConfig
from unrolled.units import bits_from_nats, perplexity


def write_card(path: Path, name: str, config: RunConfig, parameters: int, best: dict[str, Any] | None) -> None:
    """Write the card; `best` is the line of `metrics.jsonl` of the weights that were kept."""
    making = _importing(config) if config.imported_from else _making(config)
    results = _results(best, (path.parent / "loss.png").is_file())
    sections = [_heading(name, config, parameters), *_warnings(config), results, making, _use(name), _limits()]
    write_atomically(path, "\n".join(sections).encode())


def _heading(name: str, config: RunConfig, parameters: int) -> str:
    model = config.settings.model
    return f"""# {name}

A language model over {config.settings.data.tokenizer}s: an LSTM written from its equations, made with `unrolled`.

| | |
|---|---|
| layers x hidden size | {model.layers} x {model.hidden_size} |
| embedding size | {model.embedding_size} |
| vocabulary | {config.vocabulary_size} |
| parameters | {parameters:,} |
"""


def _warnings(config: RunConfig) -> list[str]:
    """Return the run's warnings; they may quote a vocabulary from elsewhere, so they are shown as plain text."""
    lines = [f"- {html.escape(' '.join(text.split()), quote=False)}" for text in config.warnings]
    return ["## What to know first\n\n" + "\n".join(lines) + "\n"] if lines else []


def _results(best: dict[str, Any] | None, has_picture: bool) -> str:
    if best is None or best.get("valid_loss_nats") is None:
        return "## Results\n\nNot evaluated yet.\n"
    nats = best["valid_loss_nats"]
    rows = [
        ("loss", f"{nats:.4f} nats per token"),
        ("bits per token", f"{bits_from_nats(nats):.4f}"),
        ("perplexity", f"{perplexity(nats):.3f}"),
        *_training_loss(best),
        ("at step", f"{best['step']:,}"),
        *_training_time(best),
    ]
    table = "\n".join(f"| {key} | {value} |" for key, value in rows)
    picture = "\n![loss](loss.png)\n" if has_picture else ""
    return f"## Results on the validation text\n\n| | |\n|---|---|\n{table}\n{picture}"


def _training_loss(best: dict[str, Any]) -> list[tuple[str, str]]:
    loss = best.get("train_loss_nats")
    return [] if loss is None else [("training loss at that step", f"{loss:.4f} nats per token")]


def _training_time(best: dict[str, Any]) -> list[tuple[str, str]]:
    seconds = best.get("seconds")
    return [] if seconds is None else [("training time until then", f"{seconds / 60:.1f} minutes")]


def _making(config: RunConfig) -> str:
    corpus = config.corpus
    made_with = ", ".join(f"{key} {value}" for key, value in config.made_with.items())
    lines = [
        f"- text: {', '.join(corpus.get('names', ['unknown']))} ({corpus.get('train_characters', 0):,} characters to "
        f"learn from, {corpus.get('valid_characters', 0):,} to validate on)",
        f"- hash of the text (SHA-256): `{corpus.get('content_sha256', 'unknown')}`",
        f"- seed: {config.settings.training.seed}",
        f"- begun: {config.created}",
        f"- made with: {made_with}",
    ]
    if config.fine_tuned_from is not None:
        lines.append(f"- fine-tuned from weights with the SHA-256 `{config.fine_tuned_from}`")
    command = f"\n```bash\n{config.command}\n```\n" if config.command else ""
    return "## How it was made\n\n" + "\n".join(lines) + "\n" + command + "\nAll settings are in `config.json`.\n"


def _importing(config: RunConfig) -> str:
    origin = "\n".join(f"- {key}: `{value.replace('`', '')}`" for key, value in config.imported_from.items())
    command = f"\n```bash\n{config.command}\n```\n" if config.command else ""
    return f"## Where it comes from\n\nTrained elsewhere and imported from a checkpoint.\n\n{origin}\n{command}"


def _use(name: str) -> str:
    return f"""## Use

```bash
unrolled generate {name} "Once upon a time"
unrolled evaluate {name} some-text.txt
unrolled serve {name}
```
"""


def _limits() -> str:
    return """## Limits

It writes what is likely after what stands before it, by the text it learnt from; it knows no facts. A model of a small
text can repeat whole passages of it: look before you share one that was trained on private text.
"""
