"""The option that `generate` and `serve` share: the precision of the weights for decoding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import click

from unrolled.config import Precision


def decoding_option() -> Callable[[Any], Any]:
    """Return `--decoding` as a decorator for a command."""
    return click.option(
        "--decoding",
        type=click.Choice(get_args(Precision)),
        default="float32",
        show_default=True,
        help="Precision of the weights when generating; bfloat16 rounds them and is faster.",
    )
