"""The dialogue presets on a CSV column: three seeds each, validation and test perplexity, training time.

    python benchmarks/dialogue.py lotr_scripts.csv:dialog [--seeds 1 2 3] [--presets dialogue dialogue-best] [--json]

Presets take turns, so that a slow moment of the machine hits both. Validation is what training selected on; the test
records are read once, at the end. Both are the exact figures of one pass over the text with carried state.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

import unrolled
from unrolled.data import encode_split
from unrolled.machine import machine_name


def figures(source: str, preset: str, seed: int) -> dict[str, Any]:
    """Train one model and measure it."""
    settings = {"training.seed": seed, "training.preview_tokens": 0}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        finished = unrolled.train(source, out, preset=preset, settings=settings)
        if finished.interrupted:
            sys.exit(f"{preset}, seed {seed}: stopped at step {finished.step}; half a run is no figure, start again.")
        model = unrolled.load(out, device="cpu")
        parts = {
            split: model.evaluate(encode_split(model.tokenizer, [source], model.settings.data, split)).to_json()
            for split in ("valid", "test")
        }
    return {
        "seed": seed,
        "seconds": round(finished.seconds, 1),
        "parameters": model.network.parameter_count(),
        "vocabulary_size": model.tokenizer.vocabulary_size,
        "valid_perplexity": parts["valid"]["perplexity"],
        "test_perplexity": parts["test"]["perplexity"],
        "valid_bits_per_char": parts["valid"]["bits_per_char"],
        "unknown_share": parts["valid"]["unknown_tokens"] / parts["valid"]["tokens"],
    }


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return mean and spread (standard deviation) over the seeds."""
    result: dict[str, Any] = {"runs": runs}
    for name in ("valid_perplexity", "test_perplexity", "valid_bits_per_char", "seconds"):
        values = [run[name] for run in runs]
        result[name] = {"mean": statistics.mean(values), "spread": statistics.stdev(values) if len(values) > 1 else 0.0}
    return result


def main() -> None:
    """Read the command line, train, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--presets", nargs="+", default=["dialogue", "dialogue-best"])
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    runs: dict[str, list[dict[str, Any]]] = {preset: [] for preset in arguments.presets}
    for seed in arguments.seeds:
        for preset in arguments.presets:
            runs[preset].append(figures(arguments.source, preset, seed))
    presets = {preset: summary(of) for preset, of in runs.items()}
    if arguments.json:
        about = {"machine": machine_name(), "threads": torch.get_num_threads(), "presets": presets}
        print(json.dumps(about, indent=2))
        return
    print(f"{machine_name()}, {torch.get_num_threads()} threads, {len(arguments.seeds)} seeds: mean (spread)")
    for preset, of in presets.items():
        shown = [f"{name} {of[name]['mean']:.2f} ({of[name]['spread']:.2f})" for name in of if name != "runs"]
        print(f"  {preset:14} {', '.join(shown)}; {of['runs'][0]['parameters']:,} parameters")


if __name__ == "__main__":
    main()
