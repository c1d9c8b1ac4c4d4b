"""UNROLLED_NATIVE on the command line: a variant that cannot be had is one sentence, whatever the command."""

import json

import pytest

from unrolled.bench import kernels
from unrolled.bench.training import Shape
from unrolled.native import executable_variants

SENTENCE = "Error: UNROLLED_NATIVE is 'sse9', which is not a variant of the C kernels; here it can be auto, off, "


@pytest.mark.parametrize(
    "command",
    [
        ["info"],
        ["train", "STORY", "--out", "NEW"],
        ["generate", "RUN", "The"],
        ["score", "RUN", "The fox"],
        ["evaluate", "RUN", "STORY"],
        ["serve", "RUN", "--port", "0"],
        *(["bench", what] for what in ("training", "kernels", "generation")),
    ],
    ids=" ".join,
)
def test_a_variant_that_does_not_exist_is_one_sentence(cli, monkeypatch, trained_once, story, tmp_path, command):
    monkeypatch.setenv("UNROLLED_NATIVE", "sse9")
    places = {"STORY": story, "RUN": trained_once, "NEW": tmp_path / "new"}
    done = cli(*(places.get(word, word) for word in command))
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith(SENTENCE)
    assert done.err.count("\n") == 1
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", [*executable_variants(), "off"])
def test_info_and_bench_say_what_is_pinned(cli, monkeypatch, name):
    monkeypatch.setattr(kernels, "SHAPES", {"stories": Shape(5, 8, 1, 11, 6, 3)})
    monkeypatch.setenv("UNROLLED_NATIVE", name)
    words = "switched off by UNROLLED_NATIVE=off" if name == "off" else f"compiled C, {name}, pinned by UNROLLED_NATIVE"
    assert words in json.loads(cli("info", "--json").out)["kernels"]["native"]
    assert f"\nnative kernel: {words}\n" in cli("bench", "kernels", "--repetitions", "1").out
