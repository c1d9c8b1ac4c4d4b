"""benchmarks/scaling.py: tables say what was measured, pictures are drawn, and the page around them is left alone."""

import json
import re
import sys

import pytest

from benchmarks import scaling
from tests.bench.conftest import TINY
from unrolled.bench import generation, growth, training
from unrolled.bench.training import PLAIN_LOOP, TORCH, TORCH_BF16, TORCH_DEFAULT
from unrolled.kernels import available_kernels

PAGE = f"# Before\n\n{scaling.BEGIN}\nold\n{scaling.END}\nafter\n"
PNG = b"\x89PNG\r\n\x1a\n"


def test_the_power_is_that_of_the_last_two_values():
    assert scaling.power_of_growth([1, 10, 20], [1, 7, 28]) == pytest.approx(2)
    assert scaling.power_of_growth([1, 4, 16], [5, 3, 3]) == 0


def test_only_what_is_between_the_marks_is_replaced():
    assert scaling.with_figures(PAGE, "new") == f"# Before\n\n{scaling.BEGIN}\n\nnew\n\n{scaling.END}\nafter\n"
    assert scaling.with_figures(scaling.with_figures(PAGE, "new"), "new") == scaling.with_figures(PAGE, "new")


@pytest.mark.parametrize("page", ["no marks", PAGE + PAGE, PAGE.replace(scaling.END, "")])
def test_a_page_without_its_two_marks_is_not_touched(page):
    with pytest.raises(ValueError, match="must hold each"):
        scaling.with_figures(page, "new")


def test_a_table_has_a_cell_for_every_column():
    lines = scaling.table(["implementation", "ms"], [["a", "1"], ["b", "2"]])
    assert lines == ["| implementation | ms |", "| --- | ---: |", "| a | 1 |", "| b | 2 |"]


def test_a_way_has_the_same_colour_in_every_picture_and_no_two_share_one():
    many = [
        PLAIN_LOOP,
        TORCH,
        TORCH_DEFAULT,
        TORCH_BF16,
        "ours, reference",
        "ours, fused",
        "ours, native",
        "ours, native, bf16",
    ]
    all_of_them = scaling.colours(many)
    assert set(all_of_them) == set(many)
    assert len(set(all_of_them.values())) == len(many)
    fewer = scaling.colours([TORCH, "ours, fused", "ours, native", "ours, native, bf16"])
    assert fewer.items() <= all_of_them.items()


def test_an_axis_names_one_two_and_five_in_plain_numbers():
    named = [scaling._plain(value, 0) for value in (0.05, 0.3, 1, 2, 4, 50, 20_000, 90_000)]
    assert named == ["0.05", "", "1", "2", "", "50", "20,000", ""]


@pytest.fixture
def documents(tmp_path, tiny_shape, monkeypatch):
    """A folder of documents, and sizes at which measuring takes no time."""
    (tmp_path / "speed.md").write_text(PAGE, "utf-8")
    for module in (growth, generation):
        monkeypatch.setattr(module, "SHAPES", {"stories": TINY})
    monkeypatch.setattr(growth, "SIZES", dict.fromkeys(growth.SIZES, (2, 3)))
    monkeypatch.setattr(growth, "STREAMS", (1, 2))
    short = generation.PLAIN.model_copy(update={"max_tokens": 2, "top_k": 4})
    for module, name in ((growth, "PLAIN"), (generation, "PLAIN"), (generation, "PENALISED")):
        monkeypatch.setattr(module, name, short)
    for module in (growth, generation):
        monkeypatch.setattr(module, "PROMPT", " !")
    monkeypatch.setattr(generation, "LONG_PROMPT", " !!")
    monkeypatch.setattr(generation, "CHARACTERS", 2)
    monkeypatch.setattr(generation, "STREAMS", 3)
    return tmp_path


def run(monkeypatch, folder, *arguments):
    monkeypatch.setattr(sys, "argv", ["scaling.py", "--docs", str(folder), "--repetitions", "1", *arguments])
    scaling.main()
    return json.loads((folder / "speed.json").read_text("utf-8"))


def test_all_parts_are_measured_drawn_and_written_into_the_page(documents, monkeypatch):
    parts = ("stories", "kernels", "generation", "steps", "streams")
    result = run(monkeypatch, documents, "--only", *parts)
    assert set(result) == set(parts)
    assert all({"machine", "torch", "threads", "repetitions"} <= set(part) for part in result.values())
    pictures = {path.name for path in (documents / "images").iterdir() if path.read_bytes().startswith(PNG)}
    sizes = {f"step-against-{size}.png" for size in ("hidden-size", "batch-size", "window", "layers")}
    assert pictures == sizes | {"training-step.png", "streams.png"}
    page = (documents / "speed.md").read_text("utf-8")
    assert page.startswith("# Before")
    assert page.endswith("\nafter\n")
    for name, way in result["stories"]["ways"].items():
        assert f"| {name} | {way['milliseconds_per_step']:.1f} |" in page
    for kind, limit in result["stories"]["limit_milliseconds"].items():
        assert f"{limit} ms with {kind}" in page
    for heading in ("A training step: stories", "The recurrence alone", "Generating", "Growth"):
        assert f"### {heading}\n" in page


def test_a_way_in_bfloat16_has_its_bar_its_line_and_its_limit(documents, monkeypatch):
    if "native" not in available_kernels():
        pytest.skip("native is not available here")
    part = training.measure("stories", 1, "bfloat16")
    part["limit_milliseconds"] = {"float32": 0.4, "bfloat16": 0.2}
    (documents / "speed.json").write_text(json.dumps({"stories": part}), "utf-8")
    run(monkeypatch, documents, "--draw")
    page = (documents / "speed.md").read_text("utf-8")
    assert "| ours, native bfloat16 |" in page
    assert re.search(r"0\.4 ms with float32 \(by [^)]+\), 0\.2 ms with bfloat16 \(by [^)]+\) operands", page)
    drawn, new_picture = [], scaling.new_picture
    monkeypatch.setattr(scaling, "new_picture", lambda height: drawn.append(new_picture(height)) or drawn[-1])
    scaling.draw({"stories": part}, documents / "images")
    ((_, axes),) = drawn
    assert [(line.get_xdata()[0], line.get_linestyle()) for line in axes.lines] == [(0.4, ":"), (0.2, "--")]
    assert "dotted: float32" in axes.get_xlabel()
    assert "dashed: bfloat16" in axes.get_xlabel()
    assert {label.get_text() for label in axes.get_yticklabels()} == set(part["ways"])


def test_a_part_replaces_what_there_was_of_it_and_nothing_else(documents, monkeypatch):
    first = run(monkeypatch, documents, "--only", "streams", "kernels")
    first["kernels"]["fastest"] = first["streams"]["machine"] = "of old"
    (documents / "speed.json").write_text(json.dumps(first), "utf-8")
    second = run(monkeypatch, documents, "--only", "streams")
    assert second["kernels"]["fastest"] == "of old"
    assert second["streams"]["machine"] != "of old"
    assert run(monkeypatch, documents, "--draw") == second


def test_the_time_to_a_loss_is_told_where_it_was_measured(documents, monkeypatch):
    about = {"machine": "abacus", "threads": 2, "torch": "2", "preset": "stories-fast", "target_nats": 1.216}
    figures = {
        "plain_loop_seconds_a_step": 0.25,
        "plain_loop_steps_timed": 80,
        "plain_loop_seconds": 5000.0,
        "our_seconds": None,
    }
    sooner = {**about, **figures, "times_as_soon": None, "ours_after_5_minutes_nats": 1.1949}
    (documents / "time-to-loss.json").write_text(json.dumps(sooner), "utf-8")
    run(monkeypatch, documents, "--only", "kernels")
    page = (documents / "speed.md").read_text("utf-8")
    assert "| plain PyTorch loop | 83.3 min |  | 1.0 |" in page
    assert "| unrolled, stories-fast | never | 1.195 |  |" in page
    assert "(images/time-to-loss.png)" in page
