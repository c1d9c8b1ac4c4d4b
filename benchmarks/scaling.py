"""The figures, the pictures and the tables of docs/speed.md, measured on this machine.

    python benchmarks/scaling.py [--only PART ...] [--repetitions 5] [--docs docs] [--draw]

Parts are measured one after the other, all ways of a part in turn, and kept in `speed.json` with the machine's name,
each replacing what that file had of it. Then the pictures in `images/` are drawn from the file, and what stands between
the two marks in `speed.md` is written. Close other programs first.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from unrolled.bench import generation, growth, kernels, training

Part = dict[str, Any]

PARTS: dict[str, Callable[[int], Part]] = {
    **{shape: partial(training.measure, shape) for shape in ("stories", "dialogue", "words")},
    "kernels": partial(kernels.measure, "stories"),
    "generation": partial(generation.measure, "stories"),
    "steps": growth.measure_steps,
    "streams": growth.measure_streams,
}
BEGIN, END = "<!-- begin: written by benchmarks/scaling.py -->", "<!-- end: written by benchmarks/scaling.py -->"
# A size's name on its axis, the power of it that the products of a step grow with, and that in words.
AXES = {
    "hidden_size": ("hidden size H (units)", 2, "the square of H"),
    "batch_size": ("batch size B (rows)", 1, "B"),
    "window": ("window T (characters)", 1, "T"),
    "layers": ("layers L", 1, "L"),
}
RIVALS = {
    training.TORCH: "#5f6670",
    training.TORCH_DEFAULT: "#7b818a",
    training.TORCH_BF16: "#989da5",
    training.PLAIN_LOOP: "#b4b8bf",
}
LINES = {"float32": ("dotted", ":"), "bfloat16": ("dashed", "--")}  # where the limit is, by the kind of operands
OURS = ("#b3432b", "#d98a3d", "#2f6f8f", "#6a8f3c", "#7a5195")


def colours(names: list[str]) -> dict[str, str]:
    """Give ours colours and the rivals greys, the same in every picture of the same ways; ours come first."""
    kernels_in_order = ("native", "fused", "reference")
    ours = [name for kernel in kernels_in_order for name in names if name.startswith("ours") and kernel in name]
    palette = {name: OURS[k % len(OURS)] for k, name in enumerate(ours)}
    return palette | {name: RIVALS[name] for name in names if name in RIVALS}


def power_of_growth(values: list[float], measured: list[float]) -> float:
    """Return p where `measured` grows like `values` to the p, between the last two of them."""
    return math.log(measured[-1] / measured[-2]) / math.log(values[-1] / values[-2])


def new_picture(height: float = 4.0) -> tuple[Any, Any]:
    """Return a figure and its axes, as all pictures have them."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, height), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def logarithmic(axes: Any, values: list[int]) -> None:
    """Make both axes logarithmic, and name the measured values on the lower one in plain numbers."""
    axes.set(xscale="log", yscale="log")
    axes.set_xticks(values, [str(value) for value in values])
    axes.set_xticks([], minor=True)
    axes.yaxis.set_major_formatter(_plain)
    axes.yaxis.set_minor_formatter(_plain)


def _plain(value: float, _: int) -> str:
    """Name 1, 2 and 5 times a power of ten on an axis, and nothing between."""
    if f"{value:e}"[0] not in "125":
        return ""
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


def draw_guide(axes: Any, values: list[int], numbers: list[float], label: str) -> None:
    """Draw what a measured line is to be compared with."""
    axes.plot(values, numbers, color="black", linewidth=0.8, linestyle=":", label=label)


def draw_growth(path: Path, size: str, part: Part) -> None:
    """Draw milliseconds a step over one size, with a dotted line that grows as the matrix products do."""
    label, power, in_words = AXES[size]
    values, by_way = part["sizes"][size]["values"], part["sizes"][size]["milliseconds"]
    figure, axes = new_picture()
    for name, colour in colours(list(by_way)).items():
        axes.plot(values, by_way[name], label=name, color=colour, marker="o", markersize=4, linewidth=1.8)
    last = min(milliseconds[-1] for milliseconds in by_way.values())
    guide = [last * (value / values[-1]) ** power for value in values]
    draw_guide(axes, values, guide, f"proportional to {in_words}")
    logarithmic(axes, values)
    axes.set(xlabel=label, ylabel="milliseconds a training step")
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(path)


def draw_streams(path: Path, part: Part) -> None:
    """Draw characters a second over the number of streams."""
    values, rates = part["streams"], part["characters_per_second"]
    figure, axes = new_picture()
    axes.plot(values, rates, color=OURS[0], marker="o", markersize=4, linewidth=1.8, label="unrolled")
    guide = [rates[0] * value for value in values if rates[0] * value <= 1.5 * max(rates)]
    draw_guide(axes, values[: len(guide)], guide, "each stream as fast as one alone")
    logarithmic(axes, values)
    axes.set(xlabel="streams written together", ylabel="characters a second, all together")
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    figure.savefig(path)


def draw_bars(path: Path, part: Part) -> None:
    """Draw a bar of milliseconds a step for each way, and a line where the limit of each kind of operands is."""
    ways = dict(sorted(part["ways"].items(), key=lambda way: way[1]["milliseconds_per_step"]))
    milliseconds = [way["milliseconds_per_step"] for way in ways.values()]
    figure, axes = new_picture(1.0 + 0.45 * len(ways))
    shades = colours(list(part["ways"]))
    bars = axes.barh(list(ways), milliseconds, color=[shades[name] for name in ways], height=0.65)
    axes.bar_label(bars, fmt="%.0f", padding=4)
    axes.invert_yaxis()
    limits = part["limit_milliseconds"]
    for kind, limit in limits.items():
        axes.axvline(limit, color="black", linewidth=0.8, linestyle=LINES[kind][1])
    in_words = ", ".join(f"{LINES[kind][0]}: {kind}, {limit:.0f}" for kind, limit in limits.items())
    axes.set(xlabel=f"milliseconds a training step (its products alone, {in_words})")
    axes.margins(x=0.1)
    axes.grid(visible=False, axis="y")
    figure.savefig(path)


def draw(result: Mapping[str, Part], folder: Path) -> None:
    """Draw every picture whose figures are there."""
    folder.mkdir(parents=True, exist_ok=True)
    if "stories" in result:
        draw_bars(folder / "training-step.png", result["stories"])
    for size in AXES if "steps" in result else ():
        draw_growth(folder / f"step-against-{size.replace('_', '-')}.png", size, result["steps"])
    if "streams" in result:
        draw_streams(folder / "streams.png", result["streams"])


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """Return a table's lines in Markdown; the first column is text, the others are numbers."""
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return [f"| {' | '.join(cells)} |" for cells in lines]


def about(part: Part) -> str:
    """Return where and how a part was measured, as a sentence."""
    return (
        f"Measured on {part['machine']}, {part['threads']} threads, PyTorch {part['torch']}; medians of "
        f"{part['repetitions']} repetitions in turn."
    )


def training_lines(part: Part) -> list[str]:
    """Return the table of a whole training step at one shape."""
    sizes = ", ".join(f"{name.replace('_', ' ')} {size}" for name, size in part["shape"].items() if name != "name")
    rows = [
        [name, f"{way['milliseconds_per_step']:.1f}", f"{way['tokens_per_second']:,}"]
        + [_times(way.get(f"times_{rival}")) for rival in ("plain_loop", "torch", "torch_default", "torch_bf16")]
        + [f"{way['share_of_the_limit']:.2f}"]
        for name, way in part["ways"].items()
    ]
    rivals = ["x plain loop", "x `nn.LSTM` tuned", "x default", "x bf16"]
    head = ["implementation", "ms a step", "tokens/s", *rivals, "of the limit"]
    kept = ", ".join(f"{name} {count:,.0f}" for name, count in part["kept_bytes_per_layer_row_and_step"].items())
    by = part.get("limit_measured_by", {})
    limits = ", ".join(
        f"{limit} ms with {kind}" + (f" (by the rate of {by[kind]})" if kind in by else "")
        for kind, limit in part["limit_milliseconds"].items()
    )
    return [
        *(f"### A training step: {part['shape']['name']}", "", f"{about(part)} {sizes[0].upper()}{sizes[1:]}.", ""),
        *(*table(head, rows), ""),
        f"The limit, the matrix products alone: {limits} operands. Kept for the backward pass, "
        f"bytes a layer, row and time step: {kept}. Encoding and batching take {part['waiting']['share_of_step']:.2%} "
        "of the fastest step of ours.",
    ]


def _times(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f}"


def kernel_lines(part: Part) -> list[str]:
    """Return the table of the recurrence alone."""
    rows = [[name, f"{way['milliseconds']:.1f}", f"{way['times_torch']:.2f}"] for name, way in part["ways"].items()]
    head = ["kernel", "ms forward and backward", "x `nn.LSTM` tuned"]
    return ["### The recurrence alone", "", about(part), "", *table(head, rows)]


def generation_lines(part: Part) -> list[str]:
    """Return the table of writing text."""
    rows = [
        [f"{case}: {name}", f"{way['microseconds_per_character']:.1f}", f"{way['times_plain_loop']:.1f}"]
        for case, ways in part["cases"].items()
        for name, way in ways.items()
    ]
    head = ["case and implementation", "microseconds a character", "x plain loop"]
    return ["### Generating", "", about(part), "", *table(head, rows)]


def growth_lines(part: Part) -> list[str]:
    """Return how the time of a step grows at the end of each size's range."""
    ways = list(next(iter(part["sizes"].values()))["milliseconds"])
    rows = []
    for size, measured in part["sizes"].items():
        values = measured["values"]
        powers = [power_of_growth(values, measured["milliseconds"][name]) for name in ways]
        rows.append([f"{size.replace('_', ' ')}, {values[-2]} to {values[-1]}", *(f"{power:.2f}" for power in powers)])
    lead = "The time of a step grows with this power of the size, at the end of each range:"
    return ["### Growth", "", f"{about(part)} {lead}", "", *table(["size", *ways], rows)]


def sooner_lines(part: Part) -> list[str]:
    """Return the picture and the figures of `time_to_loss.py`."""
    reached = {who: part[f"{who}_seconds"] for who in ("plain_loop", "our")}
    minutes = {who: "never" if seconds is None else f"{seconds / 60:.1f} min" for who, seconds in reached.items()}
    rows = [
        ["plain PyTorch loop", minutes["plain_loop"], "", "1.0"],
        [
            f"unrolled, {part['preset']}",
            minutes["our"],
            _nats(part["ours_after_5_minutes_nats"]),
            _times(part["times_as_soon"]),
        ],
    ]
    head = ["on the tales", f"{part['target_nats']} nats after", "nats after 5 minutes", "times as soon"]
    return [
        *("### Sooner, not only faster", "", "![Validation loss against minutes](images/time-to-loss.png)", ""),
        f"Measured on {part['machine']}, {part['threads']} threads, PyTorch {part['torch']}. Ours is a whole run by "
        f"the wall clock. The plain PyTorch loop took {part['plain_loop_seconds_a_step']:.3f} s a step, the median of "
        f"{part['plain_loop_steps_timed']} that were made in turn with ours; times its 20,000 steps, that places the "
        "published losses of its recipe on the clock.",
        *("", *table(head, rows)),
    ]


def _nats(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def figures(result: Mapping[str, Part]) -> str:
    """Return all tables whose figures are there, as Markdown."""
    writers = {
        **dict.fromkeys(("stories", "dialogue", "words"), training_lines),
        "kernels": kernel_lines,
        "generation": generation_lines,
        "steps": growth_lines,
        "time-to-loss": sooner_lines,
    }
    return "\n\n".join("\n".join(write(result[name])) for name, write in writers.items() if name in result)


def with_figures(page: str, text: str) -> str:
    """Return the page with the text between its two marks.

    Raises:
        ValueError: the page lacks a mark, or has one twice.
    """
    if page.count(BEGIN) != 1 or page.count(END) != 1:
        raise ValueError(f"the page must hold each of these once: {BEGIN} {END}")
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{rest.split(END)[1]}"


def main() -> None:
    """Read the command line, measure, keep, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--draw", action="store_true", help="measure nothing; draw and write anew from speed.json")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--docs", type=Path, default=Path(__file__).resolve().parents[1] / "docs")
    arguments = parser.parse_args()
    kept, page = arguments.docs / "speed.json", arguments.docs / "speed.md"
    result = json.loads(kept.read_text("utf-8")) if kept.exists() else {}
    for name in () if arguments.draw else arguments.only:
        print(f"measuring {name}", flush=True)
        result[name] = PARTS[name](arguments.repetitions)
        kept.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    draw(result, arguments.docs / "images")
    sooner = arguments.docs / "time-to-loss.json"
    result |= {"time-to-loss": json.loads(sooner.read_text("utf-8"))} if sooner.exists() else {}
    page.write_text(with_figures(page.read_text("utf-8"), figures(result)), "utf-8")


if __name__ == "__main__":
    main()
