"""`unrolled import`: a checkpoint from elsewhere becomes an ordinary run."""

from __future__ import annotations

from typing import Any

import click


@click.command("import", short_help="Make a run of a checkpoint from elsewhere.")
@click.argument("checkpoint")
@click.option("--vocab", metavar="FILE", help="Its words: a pickled list, JSON, or a text with a word a line.")
@click.option("--out", required=True, metavar="RUN", help="The run directory to make.")
@click.option("--force", is_flag=True, help="Replace the run that stands there.")
def command(checkpoint: str, vocab: str | None, out: str, force: bool) -> None:
    """Make a run of CHECKPOINT, a PyTorch state dict (.pt) of an embedding, an LSTM and a linear layer.

    CHECKPOINT may be the folder that it lies in. Nothing in it is executed. Sizes are read from the tensors; the
    vocabulary is what --vocab names, else vocab.pkl or vocab_char_full.json beside the checkpoint.
    """
    from unrolled.cli.printing import print_rows, remark
    from unrolled.cli.typed import typed_command
    from unrolled.importers import import_checkpoint

    imported = import_checkpoint(checkpoint, out, vocab, force=force, command=typed_command())
    for warning in imported.config.warnings:
        remark(f"Warning: {warning}")
    print_rows(_rows(imported))
    remark(f'Write with it: unrolled generate {out} "your words"')


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
