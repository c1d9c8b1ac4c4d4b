"""The option that `generate` and `serve` share: the precision of the weights for decoding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

DECODINGS = ("float32", "bfloat16")


def decoding_option() -> Callable[[Any], Any]:
    """Return `--decoding` as a decorator for a command."""
    return click.option(
        "--decoding",
        type=click.Choice(DECODINGS),
        default="float32",
        show_default=True,
        help="Precision of the weights when generating; bfloat16 rounds them and is faster.",
    )
