"""Starting from the weights of another run: what the base decides, what a preset, and what is said about it."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import TINY
from tests.training.listeners import notes, stop_at
from unrolled import load
from unrolled.config import RegularizationSettings
from unrolled.errors import UserError
from unrolled.training import resume, train

DROPS = {
    "regularization.input_dropout": 0.1,
    "regularization.dropout": 0.3,
    "regularization.dropout_kind": "locked",
    "regularization.weight_decay": 0.2,
}
TRAINING = {name: value for name, value in TINY.items() if name.startswith("training.")} | {"training.steps": 2}


@pytest.fixture
def base(train_tiny, tmp_path):
    """A run of the tiny sizes with dropouts and weight decay."""
    train_tiny("base", {**DROPS, "training.steps": 2})
    return tmp_path / "base"


@pytest.fixture
def tune(story, tmp_path, base):
    """Fine-tune the base with these settings alone; return the new run's settings and all notes."""

    def call(settings=None, **arguments):
        seen = []
        given = {**TRAINING, **(settings or {})}
        train(story, tmp_path / "tuned", settings=given, init_from=base, force=True, listener=seen.append, **arguments)
        return load(tmp_path / "tuned").settings, notes(seen)

    return call


def test_fine_tuning_starts_from_the_same_weights_vocabulary_and_architecture(train_tiny, tmp_path):
    train_tiny("base", {"model.layers": 2})
    other = tmp_path / "other.txt"
    other.write_text("On day 7 the fox met a robot! It said: zzz\u00df. " * 20, "utf-8")
    seen, base = [], load(tmp_path / "base")
    settings = {"training.learning_rate": 1e-12, "training.warmup_steps": 10**9}
    # of the architecture only what was asked for counts: `model.hidden_size` of the tiny settings is the same there
    train_tiny("tuned", settings, sources=other, init_from=tmp_path / "base", listener=seen.append)
    tuned = load(tmp_path / "tuned")
    assert tuned.tokenizer.fingerprint == base.tokenizer.fingerprint
    assert tuned.settings.model == base.settings.model
    for name, tensor in load_file(tmp_path / "tuned" / "model.safetensors").items():
        torch.testing.assert_close(tensor, load_file(tmp_path / "base" / "model.safetensors")[name], rtol=0, atol=1e-9)
    assert "characters that the vocabulary does not know" in notes(seen)
    assert "\u00df (U+00DF)" in notes(seen)
    assert tuned.info()["fine_tuned_from"] == base.info()["weights_sha256"]
    assert base.info()["weights_sha256"] in (tmp_path / "tuned" / "README.md").read_text("utf-8")


def test_fine_tuning_with_another_architecture_is_refused_before_anything_is_written(train_tiny, run, tmp_path):
    with pytest.raises(UserError, match=r"hidden_size is 9 there.*layers is 1 there"):
        train_tiny("tuned", {"model.hidden_size": 10, "model.layers": 3}, init_from=run)
    with pytest.raises(UserError, match="There is no run"):
        train_tiny("tuned", init_from=tmp_path / "nowhere")
    assert not (tmp_path / "tuned").exists()


def test_a_fine_tuned_run_resumes_exactly_also_without_the_cache(train_tiny, run, results, tmp_path, monkeypatch):
    train_tiny("whole", init_from=run)
    train_tiny("stopped", init_from=run, listener=stop_at(11, []))
    shutil.rmtree(run)
    monkeypatch.setenv("UNROLLED_CACHE", str(tmp_path / "another-cache"))
    resume(tmp_path / "stopped")
    assert results("stopped").metrics == results("whole").metrics
    for name, tensor in results("whole").checkpoint.items():
        assert torch.equal(results("stopped").checkpoint[name], tensor)


def test_fine_tuning_may_replace_the_run_that_it_starts_from(train_tiny, run):
    before = load(run).info()["weights_sha256"]
    train_tiny(run, init_from=run, force=True)
    assert load(run).info()["fine_tuned_from"] == before


def test_without_a_preset_the_regularization_is_that_of_the_base(tune, base):
    settings, said = tune()
    assert (
        settings.regularization
        == load(base).settings.regularization
        == RegularizationSettings(input_dropout=0.1, dropout=0.3, dropout_kind="locked", weight_decay=0.2)
    )
    assert said == ""


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("regularization.dropout", 0.5),
        ("regularization.input_dropout", 0.0),
        ("regularization.output_dropout", 0.4),
        ("regularization.dropout_kind", "elementwise"),
        ("regularization.weight_decay", 0.0),
    ],
)
@pytest.mark.parametrize("preset", [None, "stories"])
def test_every_regularization_may_differ_from_the_base(tune, base, preset, name, value):
    settings, _ = tune({name: value}, preset=preset)
    assert getattr(settings.regularization, name.partition(".")[2]) == value
    assert settings.model == load(base).settings.model
    if preset is None:
        others = settings.regularization.model_dump(exclude={name.partition(".")[2]})
        assert others.items() <= load(base).settings.regularization.model_dump().items()


def test_another_dropout_changes_what_is_trained(tune, tmp_path):
    weights = []
    for rate in (0.3, 0.6):
        tune({"model.dropout": rate})  # by its earlier name
        weights.append(load_file(tmp_path / "tuned" / "model.safetensors")["layers.0.w_hh"])
    assert not torch.equal(*weights)


def test_a_note_lists_what_of_a_preset_the_base_decides(tune, base):
    settings, said = tune(preset="dialogue-best")
    assert settings.model == load(base).settings.model
    assert (settings.data.tokenizer, settings.data.min_count) == ("character", 3)
    decided = said.partition("decides these settings of the preset dialogue-best: ")[2].partition(". ")[0]
    assert decided.split("; ") == [
        "model.embedding_size is 5 and not 400",
        "model.hidden_size is 9 and not 400",
        "model.tying is separate and not tied",
        "model.initialization is orthogonal and not glorot",
        "data.tokenizer is character and not word",
    ]
    assert "layers" not in said  # the same in both
    assert settings.regularization == RegularizationSettings(
        input_dropout=0.6, dropout=0.6, dropout_kind="locked", weight_decay=0.1
    )
    changed = said.partition("dialogue-best regularizes otherwise than the run to start from: ")[2]
    assert "regularization.dropout is 0.6 (0.3 there)" in changed
    assert "regularization.weight_decay is 0.1 (0.2 there)" in changed
    assert "dropout_kind" not in changed


def test_a_preset_that_was_not_named_is_not_noted(tune):
    assert tune()[1] == ""  # the default preset has other sizes too


def test_a_setting_that_the_weights_decide_otherwise_is_refused(tune, tmp_path):
    for name, value, words in (
        ("model.initialization", "uniform", r"another architecture: model\.initialization is orthogonal there\. Leave"),
        ("model.layers", 2, r"another architecture: model\.layers is 1 there\. Leave"),
        ("data.tokenizer", "word", "vocabulary of kind character; leave data.tokenizer out"),
        ("data.min_count", 7, "vocabulary of kind character; leave data.min_count out"),
        ("data.vocabulary_size", 300, "vocabulary of kind character; leave data.vocabulary_size out"),
    ):
        with pytest.raises(UserError, match=words):
            tune({name: value})
    assert not (tmp_path / "tuned").exists()
    tune({"data.min_count": 3, "model.layers": 1})  # as they are there


def edited(run, **changes):
    values = json.loads((run / "config.json").read_text())
    values["regularization"] |= changes
    (run / "config.json").write_text(json.dumps(values))


def test_a_run_whose_regularization_was_edited_is_not_resumed_as_if_nothing_had_happened(train_tiny, base):
    edited(base, dropout=0.5, weight_decay=0.0)
    with pytest.raises(UserError) as refused:
        resume(base, steps=4)
    assert str(refused.value) == (
        f"{base}/config.json has changed since the run began (regularization.dropout is 0.5 and was 0.3; "
        "regularization.weight_decay is 0.0 and was 0.2), so it cannot be resumed exactly; put the old values back, or "
        "start a new run from its weights with --init-from and --set."
    )
    edited(base, dropout=0.3, weight_decay=0.2)
    assert resume(base, steps=4).step == 4
