"""`unrolled bench`: how fast it is here, side by side with the rivals."""

from __future__ import annotations

from typing import Any

import click

SHAPES = ("stories", "dialogue", "words")


@click.command("bench", short_help="Measure speed on this machine, beside the rivals.")
@click.argument("what", type=click.Choice(["training", "generation", "kernels"]))
@click.option("--shape", type=click.Choice(SHAPES), default="stories", show_default=True, help="Sizes of the model.")
@click.option("--repetitions", type=click.IntRange(1, 10_000), default=15, show_default=True)
@click.option("--threads", type=click.IntRange(0, 1024), default=0, help="CPU threads; 0: PyTorch's default.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(what: str, shape: str, repetitions: int, threads: int, as_json: bool) -> None:
    """Time WHAT in one process, all ways in turn.

    `training` is a whole step, `kernels` the recurrence alone, `generation` writing one stream of characters and many.

    The rivals are the plain way (a Python step for each token, a product for each gate) and torch.nn.LSTM. Close other
    programs first: what counts are the ratios.
    """
    import torch

    from unrolled.bench import generation, kernels, training
    from unrolled.cli.printing import print_json

    if threads:
        torch.set_num_threads(threads)
    result = {"training": training, "generation": generation, "kernels": kernels}[what].measure(shape, repetitions)
    if as_json:
        print_json(result)
        return
    _show_circumstances(result)
    {"training": _show_training, "generation": _show_generation, "kernels": _show_kernels}[what](result)


def _show_circumstances(result: dict[str, Any]) -> None:
    sizes = ", ".join(f"{name} {size}" for name, size in result["shape"].items() if name != "name")
    click.echo(f"{result['machine']}, {result['threads']} threads, torch {result['torch']}")
    click.echo(f"shape {result['shape']['name']}: {sizes}")
    click.echo(f"median of {result['repetitions']} repetitions in turn")


def _show_training(result: dict[str, Any]) -> None:
    click.echo(f"matrix products alone, at this machine's best rate: {result['limit_milliseconds']} ms a step")
    for name, way in result["ways"].items():
        click.echo(
            f"  {name:28} {way['milliseconds_per_step']:8.1f} ms {way['tokens_per_second']:9,} tokens/s"
            f"  {way['times_the_seeds_way']:5.2f}x the seed's way  {way['times_torch']:5.2f}x torch.nn.LSTM"
            f"  {way['share_of_the_limit']:.2f} of the limit"
        )
    kept = ", ".join(f"{name} {count:,.0f}" for name, count in result["kept_bytes_per_layer_row_and_step"].items())
    click.echo(f"kept for the backward pass, bytes a layer, row and time step: {kept}")


def _show_generation(result: dict[str, Any]) -> None:
    from unrolled.bench.generation import show

    click.echo("\n".join(show(result)))


def _show_kernels(result: dict[str, Any]) -> None:
    for name, way in result["ways"].items():
        click.echo(f"  {name:16} {way['milliseconds']:8.2f} ms  {way['times_torch']:5.2f}x torch.nn.LSTM")
    click.echo(f"the fastest of ours here: {result['fastest']}")
