"""`unrolled info`: describe a model and how it was trained."""

from __future__ import annotations

import click


@click.command("info", short_help="Describe a model and how it was trained.")
@click.argument("run", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(run: str | None, as_json: bool) -> None:
    """Describe the model in RUN: sizes, figures, hashes, and how it is decoded.

    Without RUN: the bundled model, the kernels available on this machine, and the precision used for training.
    """
    from unrolled.cli.printing import print_json, print_rows
    from unrolled.kernels import explain_kernels, explain_precision
    from unrolled.shipped import BUNDLED_STORIES
    from unrolled.trained import load

    info = load(BUNDLED_STORIES if run is None else run, device="cpu").info()
    if run is None:  # with a run, only the decoder depends on this machine
        info["kernels"] = explain_kernels()
        info["training_precision"] = explain_precision()
    if as_json:
        print_json(info)
        return
    info["seed"] = str(info["seed"])  # an identifier to copy, without thousands separators
    kernels = {f"kernel {name}": value for name, value in info.pop("kernels", {}).items()}
    rows = {name: _shown(value) for name, value in {**info, **kernels}.items() if value not in (None, [], {})}
    print_rows([(name.replace("_", " "), value) for name, value in rows.items()])


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name.replace('_', ' ')}: {_shown(entry)}" for name, entry in value.items())
    if isinstance(value, list):
        return ", ".join(str(entry) for entry in value)
    if isinstance(value, float):
        return f"{value:.4f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
