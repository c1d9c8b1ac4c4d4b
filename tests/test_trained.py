"""A trained model as Python sees it: writing, scoring, measuring, and what it says about itself."""

import json
import math

import pytest
import torch

import unrolled
from tests.conftest import STORY
from unrolled import load, shipped
from unrolled.errors import UserError


@pytest.fixture(scope="module")
def model(trained_once):
    return load(trained_once, device="cpu")


def test_a_sample_alone_is_the_same_as_in_a_batch(model):
    batch = model.generate("The fox", seed=11, n=3, max_tokens=40)
    assert [sample.seed for sample in batch.samples] == [11, 12, 13]
    for sample in batch.samples:
        alone = model.generate("The fox", seed=sample.seed, max_tokens=40)
        assert alone.samples[0] == sample


def test_streamed_pieces_joined_are_the_text(model):
    written = model.generate("On", seed=4, max_tokens=60, stop=["e f"])
    pieces = list(model.stream("On", seed=4, max_tokens=60, stop=["e f"]))
    assert "".join(piece.text for piece in pieces) == written.samples[0].text
    assert pieces[-1].finish_reason == written.samples[0].finish_reason


def test_scores_summed_are_exactly_the_evaluation(model, story):
    score, likelihood = model.score(STORY), model.evaluate(story)
    assert math.fsum(score.nats) == score.likelihood.total_nats == likelihood.total_nats
    assert score.likelihood == likelihood
    assert "".join(score.token_strings) == STORY.translate(
        {ord(c): "\ufffd" for c in model.tokenizer.unknown_in(STORY)}
    )
    assert likelihood.tokens == len(STORY)
    assert likelihood.utf8_bytes == len(STORY.encode())


def test_the_evaluation_is_that_of_the_network_in_one_pass(model):
    ids = torch.tensor([[model.tokenizer.start_id, *model.tokenizer.encode(STORY)]])
    with torch.no_grad():
        logits, _ = model.network.double()(ids[:, :-1].long())
        expected = torch.nn.functional.cross_entropy(logits[0], ids[0, 1:].long(), reduction="sum").item()
        model.network.float()
    assert model.score(STORY).likelihood.total_nats == pytest.approx(expected, rel=1e-5)


def test_unknown_characters_are_counted_and_reported(model):
    assert model.score("On \u6f22 fox").likelihood.unknown_tokens == 1
    assert model.generate("\u6f22\u00df", seed=1, max_tokens=3).unknown == ("\u6f22", "\u00df")


def test_an_empty_text_cannot_be_scored(model):
    with pytest.raises(UserError, match="no text to score"):
        model.score("")


def test_every_wrong_setting_is_in_one_message_with_the_nearest_name(model):
    with pytest.raises(UserError) as error:
        model.generate("x", temprature=1, top_p=2, n=0)
    assert "'temprature' (did you mean temperature?)" in str(error.value)
    assert "top_p = 2" in str(error.value)
    assert "n = 0" in str(error.value)
    assert "training." not in str(error.value)


def test_settings_of_a_stream_are_checked_before_its_first_piece(model):
    with pytest.raises(UserError, match="top_k"):
        model.stream("x", top_k=-7)


def test_info_is_strict_json_and_agrees_with_the_files(model, trained_once):
    info = json.loads(json.dumps(model.info(), allow_nan=False))
    metrics = [json.loads(line) for line in (trained_once / "metrics.jsonl").read_text().splitlines()]
    best = min(metrics, key=lambda entry: entry["valid_loss_nats"])
    assert info["parameters"] == sum(p.numel() for p in model.network.parameters())
    assert info["vocabulary_size"] == model.tokenizer.vocabulary_size
    assert (info["best_step"], info["steps"]) == (best["step"], 24)
    assert info["valid_bits_per_char"] == best["valid_bits_per_char"]
    assert info["valid_loss_nats"] == best["valid_loss_nats"]
    assert info["weights_bytes"] == (trained_once / "model.safetensors").stat().st_size
    assert str(trained_once.parent) not in json.dumps(info)


def test_an_unknown_device_is_refused(trained_once):
    with pytest.raises(UserError, match="There is no device named 'gpu'"):
        load(trained_once, device="gpu")


@pytest.mark.parametrize("asked", ["int4", "bfloat", ""])
def test_an_unknown_precision_for_writing_is_a_callers_mistake(trained_once, asked):
    with pytest.raises(ValueError, match=f"decoding is float32 or bfloat16, not '{asked}'"):
        load(trained_once, decoding=asked)


def test_without_the_native_kernel_text_is_written_in_float32_and_that_is_said(trained_once, model, monkeypatch):
    monkeypatch.setattr("unrolled.decoding.native_decoder.native_library", lambda: None)
    halved, whole = (load(trained_once, device="cpu", decoding=asked) for asked in ("bfloat16", "float32"))
    assert (halved.decoding, whole.warnings) == ("float32", model.warnings)
    (warning,) = halved.warnings
    assert warning.startswith("Writing with bfloat16 weights needs the native kernel")
    assert warning.endswith("float32 is used instead.")
    assert halved.generate("On", seed=1, max_tokens=30) == model.generate("On", seed=1, max_tokens=30)


def test_the_shipped_model_that_is_absent_is_one_plain_sentence(monkeypatch, tmp_path):
    monkeypatch.setattr(shipped, "_CANDIDATES", (tmp_path / "a",))
    with pytest.raises(UserError, match="The shipped model is missing"):
        load()


def test_the_package_offers_what_the_readme_shows():
    for name in unrolled.__all__:
        assert getattr(unrolled, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        unrolled.nothing  # noqa: B018
