"""`unrolled score`: the surprisal of each token of a text."""

from __future__ import annotations

import click


@click.command("score", short_help="Show how surprising each token of a text is.")
@click.argument("run")
@click.argument("file", metavar="FILE|-")
@click.option("--encoding-errors", type=click.Choice(["strict", "replace"]), default="strict")
@click.option("--device", default="auto", metavar="NAME", help="auto, cpu, cuda, cuda:N or mps.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(run: str, file: str, encoding_errors: str, device: str, as_json: bool) -> None:
    """Print each token of FILE with its surprisal in bits, -log2 p(token | all before it)."""
    import sys

    from unrolled.cli.opening import open_model
    from unrolled.cli.printing import print_json, remark
    from unrolled.units import bits_from_nats

    model = open_model(run, device)
    text = model.encode(file, encoding_errors, stdin=sys.stdin.buffer)
    for note in text.notes:
        remark(f"Note: {note}")
    score = model.score_tokens(text)
    if as_json:
        rows = [
            {"token": piece, "surprisal_nats": nats, "surprisal_bits": bits_from_nats(nats)}
            for piece, nats in zip(score.token_strings, score.nats, strict=True)
        ]
        print_json({**score.likelihood.to_json(), "scores": rows})
        return
    for piece, nats in zip(score.token_strings, score.nats, strict=True):
        print(f"{bits_from_nats(nats):8.3f}  {piece!r}")
    figures = score.likelihood.to_json()
    remark(
        f"{figures['tokens']:,} tokens, {figures['nats_per_token']:.4f} nats a token, perplexity "
        f"{figures['perplexity']:.3f}"
    )
