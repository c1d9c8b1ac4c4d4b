"""The option that `generate` and `serve` share: with which weights text is written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

DECODINGS = ("float32", "bfloat16")


def decoding_option() -> Callable[[Any], Any]:
    """Return `--decoding` as a decorator of a command."""
    return click.option(
        "--decoding",
        type=click.Choice(DECODINGS),
        default="float32",
        show_default=True,
        help="Precision of the weights that text is written with; bfloat16 is faster and rounds them.",
    )
