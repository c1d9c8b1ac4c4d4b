"""`unrolled info`: what a model is and how it was made."""

from __future__ import annotations

import click


@click.command("info", short_help="Say what a model is and how it was made.")
@click.argument("run", default="builtin:stories")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(run: str, as_json: bool) -> None:
    """Describe the model in RUN: sizes, figures, hashes."""
    from unrolled.cli.printing import print_json, print_rows
    from unrolled.trained import load

    info = load(run, device="cpu").info()
    if as_json:
        print_json(info)
        return
    info["seed"] = str(info["seed"])  # to be copied, not to be read as a quantity
    print_rows([(name.replace("_", " "), _shown(value)) for name, value in info.items() if value not in (None, [], {})])


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name.replace('_', ' ')}: {_shown(entry)}" for name, entry in value.items())
    if isinstance(value, list):
        return ", ".join(str(entry) for entry in value)
    if isinstance(value, float):
        return f"{value:.4f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
