"""benchmarks/time_to_loss.py: whose time is counted as whose, and which points were measured."""

import argparse
import itertools
import sys

import pytest
import torch

from benchmarks import time_to_loss
from tests.conftest import TINY
from unrolled.config import make_settings
from unrolled.data import prepare_corpus
from unrolled.nn import LanguageModel
from unrolled.training import Evaluated, Note

RECIPE = make_settings("stories", TINY)


@pytest.fixture
def corpus(story):
    return prepare_corpus([str(story)], RECIPE.data, valid_sources=[str(story)])


def asked(story, **changes):
    values = {"preset": "stories-fast", "sample": 3, "plain_steps": 0, "target": 1.216, **changes}
    return argparse.Namespace(train=str(story), valid=str(story), **values)


def test_the_plain_loops_weights_give_our_model_the_same_logits(corpus):
    plain = time_to_loss.PlainLoop(corpus, RECIPE)
    for _ in range(3):
        plain.step()
    ours = LanguageModel(RECIPE.model, corpus.tokenizer.vocabulary_size, torch.Generator().manual_seed(5))
    time_to_loss.copy_weights(plain.model, ours)
    ids = torch.randint(corpus.tokenizer.vocabulary_size, (2, 9), generator=torch.Generator().manual_seed(6))
    torch.testing.assert_close(ours(ids)[0], plain.model(ids), rtol=0, atol=1e-6)


def test_the_plain_loop_learns_and_its_curve_is_on_its_own_clock(corpus):
    plain = time_to_loss.PlainLoop(corpus, RECIPE)
    before = plain.valid_loss_nats()
    plain.step()  # a warm-up, which no curve counts
    curve = time_to_loss.plain_loop_measured_curve(plain, 25, interval=10)
    assert [seconds for seconds, _ in curve] == pytest.approx([sum(plain.seconds[1 : n + 1]) for n in (10, 20, 25)])
    assert curve[-1][1] < curve[0][1] < before
    assert curve[-1][1] == plain.valid_loss_nats()


def test_the_time_that_was_lent_to_the_plain_loop_is_not_ours(monkeypatch):
    class Seeds:
        made = 0

        def step(self):
            self.made += 1

    ticks = itertools.count(0, 10)  # every look at the clock is ten seconds later
    monkeypatch.setattr("time.perf_counter", lambda: float(next(ticks)))
    listener = time_to_loss.InTurn(Seeds(), steps=2)
    listener(Note("not an evaluation"))
    for seconds, nats in ((5.0, 3.0), (30.0, 2.0), (50.0, 1.0)):
        listener(Evaluated({"seconds": seconds, "valid_loss_nats": nats}, True))
    assert listener.curve == [(5.0, 3.0), (20.0, 2.0), (30.0, 1.0)]
    assert listener._plain.made == 6


def test_the_continued_curve_starts_behind_what_was_measured():
    assert time_to_loss.plain_loop_continued_curve(0.25)[0] == (125.0, 1.80)
    assert time_to_loss.plain_loop_continued_curve(0.25, after_steps=500)[0] == (250.0, 1.62)
    assert time_to_loss.plain_loop_continued_curve(0.25)[-1] == (5000.0, 1.216)


def test_a_target_is_reached_by_the_first_point_at_or_below_it():
    curve = [(1.0, 3.0), (2.0, 1.5), (3.0, 1.6), (4.0, 1.2)]
    assert time_to_loss.first_at(curve, 1.5) == 2.0
    assert time_to_loss.first_at(curve, 1.0) is None


def test_a_small_run_gives_figures_a_report_and_a_picture(story, tmp_path):
    ours = {**TINY, "training.steps": 4, "training.eval_interval": 2}
    result = time_to_loss.measure(asked(story, plain_steps=2), RECIPE, ours)
    assert len(result["our_curve"]) == 2
    assert result["plain_loop_steps_timed"] == 2 * 3
    assert result["plain_loop_seconds"] == pytest.approx(20_000 * result["plain_loop_seconds_a_step"])
    assert result["our_seconds"] is None
    assert "ours after (never)" in "\n".join(time_to_loss.report(result))
    time_to_loss.draw(tmp_path / "images" / "picture.png", result)
    assert (tmp_path / "images" / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_the_folder_of_documents_is_there_before_anything_is_measured(tmp_path, monkeypatch):
    found = []
    monkeypatch.setattr(time_to_loss, "measure", lambda *given: found.append((tmp_path / "new/images").is_dir()) or {})
    monkeypatch.setattr(time_to_loss, "draw", lambda *given: None)
    monkeypatch.setattr(time_to_loss, "report", lambda result: [])
    monkeypatch.setattr(sys, "argv", ["time_to_loss.py", "a.txt", "b.txt", "--docs", str(tmp_path / "new")])
    time_to_loss.main()
    assert found == [True]


def test_what_was_not_measured_is_dotted_and_says_so(story):
    ours = {**TINY, "training.steps": 1}
    only_ours = time_to_loss.drawn_curves(time_to_loss.measure(asked(story), RECIPE, ours))
    assert [(label.split(",")[0].split(":")[0], style) for label, _, _, style in only_ours] == [
        ("unrolled", "-"),
        ("plain PyTorch loop", ":"),
    ]
    assert "published losses" in only_ours[1][0]


def test_a_target_that_both_reach_gives_the_ratio(story):
    result = time_to_loss.measure(asked(story, target=100.0), RECIPE, {**TINY, "training.steps": 1})
    assert result["plain_loop_seconds"] == 500 * result["plain_loop_seconds_a_step"]
    assert result["times_as_soon"] == result["plain_loop_seconds"] / result["our_seconds"]
    assert "times as soon" in time_to_loss.report(result)[-1]
