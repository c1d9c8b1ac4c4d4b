"""`unrolled evaluate`: the likelihood of a text under a model."""

from __future__ import annotations

import click


@click.command("evaluate", short_help="Measure a model on a text: perplexity, bits per character.")
@click.argument("run")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--split", type=click.Choice(["train", "valid", "test"]), help="Measure only this part of the text.")
@click.option("--encoding-errors", type=click.Choice(["strict", "replace"]), default="strict")
@click.option("--device", default="auto", metavar="NAME", help="auto, cpu, cuda, cuda:N or mps.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    run: str, files: tuple[str, ...], split: str | None, encoding_errors: str, device: str, as_json: bool
) -> None:
    """Measure the model in RUN on FILE, in one pass that carries the state and counts every token once.

    FILE may be - for standard input, a directory, file.csv:column or file.jsonl:field. With --split, the text is split
    with the run's own seed and fractions, and only that part is measured.
    """
    import sys

    from unrolled.cli.opening import open_model
    from unrolled.cli.printing import print_json, print_rows, remark

    model = open_model(run, device)
    text = model.encode(files, encoding_errors, split, stdin=sys.stdin.buffer)
    for note in text.notes:
        remark(f"Note: {note}")
    figures = model.evaluate(text).to_json()
    if as_json:
        print_json(figures)
        return
    print_rows(
        [
            ("tokens", f"{figures['tokens']:,} ({figures['unknown_tokens']:,} unknown)"),
            ("loss", f"{figures['nats_per_token']:.4f} nats per token"),
            ("perplexity", f"{figures['perplexity']:.4f}"),
            ("bits per character", f"{figures['bits_per_char']:.4f}"),
            ("bits per byte", f"{figures['bits_per_byte']:.4f}"),
        ]
    )
