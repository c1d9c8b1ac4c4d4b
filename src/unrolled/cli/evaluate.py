"""`unrolled evaluate`: a model's likelihood of a whole file."""

from __future__ import annotations

import click


@click.command("evaluate", short_help="Measure a model on a text: perplexity, bits per character.")
@click.argument("run")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--encoding-errors", type=click.Choice(["strict", "replace"]), default="strict")
@click.option("--device", default="auto", metavar="NAME", help="auto, cpu, cuda, cuda:N or mps.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(run: str, files: tuple[str, ...], encoding_errors: str, device: str, as_json: bool) -> None:
    """Measure the model in RUN on FILE, in one pass with carried state, every token counted once.

    FILE may be - for standard input, a directory or file.csv:column.
    """
    import sys

    from unrolled.cli.printing import print_json, print_rows, remark
    from unrolled.data import encode_text
    from unrolled.trained import load

    model = load(run, device)
    text = encode_text(model.tokenizer, files, encoding_errors, stdin=sys.stdin.buffer)
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
