"""The model card and the picture, also for a run that was never measured."""

import json
import math

import pytest

from unrolled.runs import RunFolder, append_metrics, draw_loss, read_metrics, write_card

PNG = b"\x89PNG\r\n\x1a\n"
BEST = {"step": 20, "seconds": 90.0, "train_loss_nats": 1.25, "valid_loss_nats": 1.5}


@pytest.fixture
def config(run):
    return RunFolder(run).read_config()


def test_the_card_says_what_it_learnt_from_how_well_and_how(run, config):
    write_card(run / "README.md", "fox", config, 12_345, BEST)
    card = (run / "README.md").read_text("utf-8")
    for words in (
        "# fox",
        "12,345",
        "story.txt",
        config.corpus["content_sha256"],
        "unrolled train story.txt --out fox",
        "seed: 1337",
        "1.5000 nats",
        "2.1640",  # 1.5 / ln 2
        "4.482",  # exp 1.5
        "1.5 minutes",
    ):
        assert words in card


@pytest.mark.parametrize("best", [None, {**BEST, "valid_loss_nats": None}])
def test_a_run_that_was_never_measured_says_so(run, config, best):
    write_card(run / "README.md", "fox", config, 1, best)
    assert "Not evaluated yet" in (run / "README.md").read_text("utf-8")


def test_figures_that_json_could_not_hold_are_left_out(run, config):
    write_card(run / "README.md", "fox", config, 1, {**BEST, "train_loss_nats": None, "valid_loss_nats": 1000.0})
    card = (run / "README.md").read_text("utf-8")
    assert "training loss" not in card
    assert "perplexity | inf" in card


@pytest.mark.parametrize(
    "losses", [[], [(2.0, 2.1)], [(math.nan, 2.0), (1.5, math.inf), (1.0, 1.8)], [(800.0, 900.0)] * 40]
)
def test_the_picture_is_a_png_whatever_was_measured(tmp_path, losses):
    for step, (train, valid) in enumerate(losses):
        append_metrics(tmp_path / "m.jsonl", {"step": step, "train_loss_nats": train, "valid_loss_nats": valid})
    draw_loss(tmp_path / "loss.png", read_metrics(tmp_path / "m.jsonl"), "fox: loss")
    assert (tmp_path / "loss.png").read_bytes().startswith(PNG)


@pytest.mark.parametrize("part", [0, 1, 2, 3])
def test_a_picture_that_is_given_up_leaves_no_file(tmp_path, part):
    looks = iter([None] * part + [InterruptedError])

    def look():
        error = next(looks)
        if error is not None:
            raise error

    with pytest.raises(InterruptedError):
        draw_loss(tmp_path / "loss.png", [{"step": 1, "valid_loss_nats": 2.0}], "fox: loss", look)
    assert list(tmp_path.iterdir()) == []


def test_the_card_shows_the_picture_only_where_there_is_one(run, config):
    write_card(run / "README.md", "fox", config, 1, BEST)
    assert "(loss.png)" in (run / "README.md").read_text("utf-8")
    (run / "loss.png").unlink()
    write_card(run / "README.md", "fox", config, 1, BEST)
    assert "loss.png" not in (run / "README.md").read_text("utf-8")


def test_a_trained_run_has_the_files_that_were_promised_and_no_path_of_this_machine(trained_once):
    names = {"README.md", "checkpoints", "config.json", "loss.png", "metrics.jsonl", "model.safetensors"}
    assert {entry.name for entry in trained_once.iterdir()} == names | {"tokenizer.json", "vocab.json"}
    assert (trained_once / "loss.png").read_bytes().startswith(PNG)
    for name in ("README.md", "config.json", "tokenizer.json", "metrics.jsonl", "model.safetensors"):
        assert str(trained_once.parent).encode() not in (trained_once / name).read_bytes()
    lines = [json.loads(line) for line in (trained_once / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [5, 10, 15, 20, 24]
    for line in lines:
        assert list(line) == [
            "step",
            "seconds",
            "train_loss_nats",
            "valid_loss_nats",
            "valid_perplexity",
            "valid_bits_per_char",
            "tokens_per_second",
            "learning_rate",
        ]
        assert line["valid_perplexity"] == pytest.approx(math.exp(line["valid_loss_nats"]))
        assert line["valid_bits_per_char"] == pytest.approx(line["valid_loss_nats"] / math.log(2))
