"""`unrolled bench`: speed on this machine, compared with the baselines."""

from __future__ import annotations

from typing import Any, get_args

import click

from unrolled.config import Precision
from unrolled.errors import UserError

SHAPES = ("stories", "dialogue", "words")


@click.command("bench", short_help="Measure speed on this machine against the baselines.")
@click.argument("what", type=click.Choice(["training", "generation", "kernels"]))
@click.option("--shape", type=click.Choice(SHAPES), default="stories", show_default=True, help="Model size.")
@click.option("--repetitions", type=click.IntRange(1, 10_000), default=15, show_default=True)
@click.option("--threads", type=click.IntRange(0, 1024), default=0, help="CPU threads; 0: PyTorch's default.")
@click.option(
    "--precision",
    type=click.Choice(["auto", *get_args(Precision)]),
    default="auto",
    show_default=True,
    help="Whether native is also timed in bfloat16 (training, kernels); auto: if it is fast here.",
)
@click.option("--store", is_flag=True, help="Use the fastest kernel on this machine from now on (kernels only).")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(what: str, shape: str, repetitions: int, threads: int, precision: str, store: bool, as_json: bool) -> None:
    """Time WHAT in one process, alternating between the implementations.

    `training` times a whole step, `kernels` the recurrence alone, `generation` one stream of characters and many.

    The baselines are a plain PyTorch loop (a Python step per token, a product per gate) and torch.nn.LSTM: tuned
    (freed memory is kept for the next step, as it is for ours) and, for training, also as it is by default. Close other
    programs first; the ratios are what counts. `kernels --store` selects our fastest kernel for this machine.
    """
    if store and what != "kernels":
        raise UserError(
            f"--store saves the choice of a kernel, which {what} does not make; use: bench kernels --store."
        )
    if precision != "auto" and what == "generation":
        raise UserError("--precision applies to training, and generation times every precision; leave it out.")
    import torch

    from unrolled.bench import generation, kernels, training
    from unrolled.cli.printing import print_json

    if threads:
        torch.set_num_threads(threads)
    if what == "generation":
        result = generation.measure(shape, repetitions)
    else:
        result = {"training": training, "kernels": kernels}[what].measure(shape, repetitions, precision)
    if as_json:
        print_json(result)
    else:
        _show_circumstances(result)
        {"training": _show_training, "generation": _show_generation, "kernels": _show_kernels}[what](result)
    if store:
        _store(result)


def _show_circumstances(result: dict[str, Any]) -> None:
    sizes = ", ".join(f"{name} {size}" for name, size in result["shape"].items() if name != "name")
    click.echo(f"{result['machine']}, {result['threads']} threads, torch {result['torch']}")
    click.echo(f"native kernel: {result['native']}")
    click.echo(f"shape {result['shape']['name']}: {sizes}")
    click.echo(f"median of {result['repetitions']} alternating repetitions")


def _show_training(result: dict[str, Any]) -> None:
    for kind, limit in result["limit_milliseconds"].items():
        by = result["limit_measured_by"][kind]
        click.echo(f"limit, the matrix products alone: {limit} ms a step with {kind}, by the rate of {by}")
    for name, way in result["ways"].items():
        click.echo(
            f"  {name:28} {way['milliseconds_per_step']:8.1f} ms {way['tokens_per_second']:9,} tokens/s"
            f"  {way['times_plain_loop']:5.2f}x plain loop  {way['times_torch']:5.2f}x torch.nn.LSTM tuned"
            f"  {way['times_torch_default']:5.2f}x default  {way['share_of_the_limit']:.2f} of the limit"
        )
    kept = ", ".join(f"{name} {count:,.0f}" for name, count in result["kept_bytes_per_layer_row_and_step"].items())
    click.echo(f"kept for the backward pass, bytes per layer, row and time step: {kept}")
    waiting = result["waiting"]
    click.echo(
        f"encoding and batching: {waiting['share_of_step']:.2%} of our fastest step (random windows "
        f"{waiting['random_windows_milliseconds']:.3f} ms, streams {waiting['streams_milliseconds']:.3f} ms, encoding "
        f"{waiting['encoding_milliseconds']:.3f} ms)"
    )


def _show_generation(result: dict[str, Any]) -> None:
    from unrolled.bench.generation import show

    click.echo("\n".join(show(result)))


def _show_kernels(result: dict[str, Any]) -> None:
    for name, way in result["ways"].items():
        click.echo(f"  {name:20} {way['milliseconds']:8.2f} ms  {way['times_torch']:5.2f}x torch.nn.LSTM tuned")
    click.echo(f"our fastest kernel here: {result['fastest']}")


def _store(result: dict[str, Any]) -> None:
    """Save the choice, after the figures are shown so that they are not lost if saving fails."""
    from unrolled.cli.printing import remark
    from unrolled.kernels import store_choice

    path = store_choice(result["fastest"], result["shape"]["name"])
    remark(f"Stored in {path}: training.kernel=auto now uses {result['fastest']} on this machine.")
