"""`unrolled import`: turn a PyTorch checkpoint into an ordinary run."""

from __future__ import annotations

from typing import Any

import click


@click.command("import", short_help="Turn a PyTorch checkpoint into a run.")
@click.argument("checkpoint")
@click.option("--vocab", metavar="FILE", help="Its vocabulary: a pickled list, JSON, or text with one word per line.")
@click.option("--out", required=True, metavar="RUN", help="Run directory to create.")
@click.option("--force", is_flag=True, help="Replace an existing run.")
def command(checkpoint: str, vocab: str | None, out: str, force: bool) -> None:
    """Create a run from CHECKPOINT, a PyTorch state dict (.pt) of an embedding, an LSTM and a linear layer.

    CHECKPOINT may also be its folder. Nothing in it is executed. Sizes are read from the tensors. Without --vocab, the
    vocabulary is read from vocab.pkl or vocab_char_full.json beside the checkpoint.
    """
    from unrolled.cli.printing import print_rows, remark
    from unrolled.cli.typed import typed_command
    from unrolled.importers import import_checkpoint

    imported = import_checkpoint(checkpoint, out, vocab, force=force, command=typed_command())
    for warning in imported.config.warnings:
        remark(f"Warning: {warning}")
    print_rows(_rows(imported))
    remark(f'Generate text with: unrolled generate {out} "your words"')


def _rows(imported: Any) -> list[tuple[str, str]]:
    model = imported.config.settings.model
    sizes = ", ".join(str(size) for size in imported.hidden_sizes)
    padded = f" (layers of {sizes}, padded with zeros)" if len(set(imported.hidden_sizes)) > 1 else ""
    return [
        ("checkpoint", str(imported.checkpoint)),
        ("layout", imported.layout),
        ("layers", f"{model.layers} x {model.hidden_size}{padded}"),
        ("embedding", f"{model.embedding_size}{', tied to the output layer' if model.tying == 'tied' else ''}"),
        ("vocabulary", f"{imported.config.vocabulary_size:,} from {imported.vocabulary or 'nowhere (a placeholder)'}"),
        ("parameters", f"{imported.parameters:,}"),
        ("run", str(imported.run.path)),
    ]
