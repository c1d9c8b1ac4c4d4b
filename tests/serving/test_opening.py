"""Opening run folders as models, loaded at start or on first use."""

import shutil

import pytest
import torch

from unrolled import load
from unrolled.errors import UserError
from unrolled.native import native_library
from unrolled.serving.models import ModelUnavailable, served_models
from unrolled.serving.opening import open_models
from unrolled.web.pages.view import model_facts


def copies(run, tmp_path, number):
    return [shutil.copytree(run, tmp_path / f"home{index}" / "fox") for index in range(number)]


def test_a_few_models_are_loaded_at_the_start_and_of_many_the_first(trained_once, tmp_path):
    folders = copies(trained_once, tmp_path, 3)
    assert [model.model is not None for model in open_models(folders, at_start=3)] == [True] * 3
    assert [model.model is not None for model in open_models(folders, at_start=2)] == [True, False, False]


def test_a_model_that_is_loaded_later_knows_its_settings_and_then_writes_the_same(trained_once, tmp_path):
    served = served_models(open_models(copies(trained_once, tmp_path, 2), at_start=1))
    assert list(served) == ["fox-home0", "fox-home1"]
    now, later = served.values()
    assert later.loaded is None
    assert (later.settings, later.sampling) == (now.settings, now.sampling)
    assert later.ready().generate("On day", seed=3, max_tokens=9) == now.ready().generate(
        "On day", seed=3, max_tokens=9
    )


@pytest.mark.skipif(native_library() is None, reason="unrolled was installed without a C compiler")
def test_models_loaded_now_and_later_write_with_the_precision_that_was_asked_for(trained_once, tmp_path):
    served = served_models(open_models(copies(trained_once, tmp_path, 2), at_start=1, decoding="bfloat16"))
    expected = load(trained_once, device="cpu", decoding="bfloat16")
    for model in served.values():
        assert model.ready().decoding == "bfloat16"
        assert ("Weights", "bfloat16, rounded for faster generation") in model_facts(model)
        assert model.ready().generate("On", seed=2, max_tokens=40) == expected.generate("On", seed=2, max_tokens=40)
    (usual,) = served_models(open_models([trained_once], at_start=1)).values()
    assert "Weights" not in dict(model_facts(usual))


def test_without_folders_the_shipped_model_is_served():
    (model,) = open_models([], at_start=8)
    assert model.name == "stories"


def test_a_folder_given_twice_is_offered_once(trained_once, tmp_path, monkeypatch):
    (folder,) = copies(trained_once, tmp_path, 1)
    monkeypatch.chdir(tmp_path)
    said = []
    assert len(open_models([folder, "home0/fox", folder / ".." / "fox"], 1, said.append)) == 1
    assert len(said) == 2
    assert "given twice" in said[0]


def test_a_folder_that_is_missing_or_damaged_is_found_before_the_first_page(trained_once, tmp_path):
    good, bad = copies(trained_once, tmp_path, 2)
    (bad / "config.json").write_text("{")
    for second in (bad, tmp_path / "nowhere"):
        for at_start in (1, 8):
            with pytest.raises(UserError):
                open_models([good, second], at_start)


def test_weights_that_are_damaged_are_told_when_the_model_is_asked_for(trained_once, tmp_path):
    good, bad = copies(trained_once, tmp_path, 2)
    (bad / "model.safetensors").write_bytes(b"x")
    later = list(served_models(open_models([good, bad], at_start=1)).values())[1]
    with pytest.raises(ModelUnavailable, match="The model fox"):
        later.ready()


@pytest.mark.parametrize("at_start", [1, 8])
def test_checkpoints_from_elsewhere_are_called_by_the_folders_that_they_were_given_in(tmp_path, at_start):
    folders = [tmp_path / home / "lotr" for home in ("monday", "tuesday")]
    for folder in folders:
        folder.mkdir(parents=True)
        network = torch.nn.ModuleDict(
            {"embedding": torch.nn.Embedding(7, 3), "lstm": torch.nn.LSTM(3, 5), "fc": torch.nn.Linear(5, 7)}
        )
        torch.save(network.state_dict(), folder / "lotr_lstm_lm.pt")
    served = served_models(open_models(folders, at_start))
    assert list(served) == ["lotr-monday", "lotr-tuesday"]
    for model in served.values():
        model.ready()
        assert model.kind == "word"
        assert "placeholder" in model.warnings[0]
