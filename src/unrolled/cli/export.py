"""`unrolled export`: a model for another tool."""

from __future__ import annotations

import click


@click.command("export", short_help="Write a model for another tool.")
@click.argument("run")
@click.option("--to", "target", required=True, type=click.Choice(["torch"]), help="torch: a plain state dict, .pt.")
@click.option("--out", required=True, metavar="FILE", help="The file to write.")
@click.option("--force", is_flag=True, help="Replace an existing file.")
def command(run: str, target: str, out: str, force: bool) -> None:
    """Write the model in RUN as embedding.weight, lstm.weight_ih_l0 ... and fc.weight, as torch.nn.LSTM has them."""
    from unrolled.cli.opening import open_model
    from unrolled.cli.printing import remark
    from unrolled.export import export_torch

    model = open_model(run)
    export_torch(model, out, force=force)
    remark(f"Wrote {out}. Its vocabulary is {model.folder / 'vocab.json'}, position = id.")
