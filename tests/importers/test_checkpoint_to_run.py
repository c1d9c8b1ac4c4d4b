"""An imported run is an ordinary one: found in the search order, complete, usable everywhere, warnings and all."""

import hashlib
import json
import re

import numpy as np
import pytest
import torch

from tests.importers.elsewhere import IDS, GateByGate, Stacked, save_model, save_words, word_layout, words
from unrolled import load, train
from unrolled.errors import UserError
from unrolled.importers import checkpoint_to_run, import_checkpoint

ORDER = ["lotr_lstm_lm.pt", "lotr-lstm_lm.pt", "best-val-lstm_lm.pt", "story_lstm_scratch_full.pt", "other.pt"]


@pytest.fixture
def folder(tmp_path):
    """The files of the word model: 13 rows, and a vocabulary of as many words."""
    save_model(tmp_path / "app", word_layout(Stacked(13)), "lotr_lstm_lm.pt")
    save_words(tmp_path / "app", words(13))
    return tmp_path / "app"


def same_weights(run, model):
    return torch.equal(load(run, device="cpu").network.embedding, model.embedding.weight)


@pytest.mark.parametrize("first", range(len(ORDER)))
def test_the_search_order_in_a_folder(tmp_path, first):
    models = {name: Stacked(11, seed=index) for index, name in enumerate(ORDER[first:])}
    for name, model in models.items():
        save_model(tmp_path / "app", word_layout(model), name)
    imported = import_checkpoint(tmp_path / "app", tmp_path / "run")
    assert imported.checkpoint.name == ORDER[first]
    assert same_weights(tmp_path / "run", models[ORDER[first]])
    assert same_weights(tmp_path / "app", models[ORDER[first]])


def test_several_unknown_names_are_refused_with_all_of_them(tmp_path):
    for name in ("b.pt", "a.pth"):
        save_model(tmp_path / "app", word_layout(Stacked()), name)
    for use in (load, lambda path: import_checkpoint(path, tmp_path / "run")):
        with pytest.raises(UserError, match=r"several checkpoints: a\.pth, b\.pt"):
            use(tmp_path / "app")


def test_a_folder_with_no_model_says_what_was_looked_for(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(UserError, match=r"no model: .*config\.json.*lotr_lstm_lm\.pt, lotr-lstm_lm\.pt, best-val"):
        import_checkpoint(tmp_path, tmp_path / "run")
    with pytest.raises(UserError, match=r"config\.json is missing"):
        load(tmp_path)


def test_a_run_beside_foreign_files_is_the_run(run):
    save_model(run, word_layout(Stacked()), "lotr_lstm_lm.pt")
    model = load(run)
    assert (model.config.imported_from, model.folder) == ({}, run)


def test_the_run_is_complete_and_says_where_it_comes_from(folder, tmp_path):
    imported = import_checkpoint(folder, tmp_path / "run", command="unrolled import app --out run")
    model = load(tmp_path / "run", device="cpu")
    info = json.loads(json.dumps(model.info(), allow_nan=False))
    assert info["imported_from"]["file"] == "lotr_lstm_lm.pt"
    assert info["imported_from"]["layout"] == "torch.nn.LSTM"
    assert (info["parameters"], info["preset"], info["corpus"]) == (imported.parameters, None, {})
    assert model.sampling({}).max_tokens == 40
    assert model.sampling({}).temperature == 0.8
    assert model.warnings == ()
    card = (tmp_path / "run" / "README.md").read_text()
    assert "Trained elsewhere" in card
    assert "unrolled import app --out run" in card
    assert str(tmp_path) not in "".join(p.read_text() for p in (tmp_path / "run").glob("*.json"))


def test_an_imported_model_writes_scores_and_measures(folder, tmp_path):
    import_checkpoint(folder, tmp_path / "run")
    model = load(tmp_path / "run", device="cpu")
    generation = model.generate("w3 never", seed=5, max_tokens=9)
    assert generation.unknown == ("never",)
    assert "<unk>" not in generation.samples[0].text
    (tmp_path / "text.txt").write_text("w3 w4 never\nw5\n")
    assert model.evaluate(tmp_path / "text.txt").total_nats == model.score("w3 w4 never\nw5\n").likelihood.total_nats


def test_the_cpu_decoder_gives_the_logits_of_the_checkpoint(tmp_path):
    model = Stacked(11, 9, (9, 9), tied=True)
    import_checkpoint(save_model(tmp_path, word_layout(model)), tmp_path / "run")
    decoder = load(tmp_path / "run").decoder
    state, rows = decoder.initial_state(1), []
    for token in IDS[0].tolist():
        logits, state = decoder.step(np.array([token]), state)
        rows.append(logits[0])
    np.testing.assert_allclose(np.stack(rows), model(IDS)[0].detach().numpy(), atol=1e-5)


def test_training_goes_on_from_an_imported_run_and_keeps_its_warnings(tmp_path):
    path = save_model(tmp_path / "app", word_layout(Stacked(13)))
    save_words(tmp_path / "app", words(11))
    import_checkpoint(path, tmp_path / "run")
    (tmp_path / "text.txt").write_text("w3 w4 w5\nw6 w7 w8\n" * 60)
    small = {"training.steps": 2, "training.batch_size": 2, "training.window": 5, "training.preview_tokens": 0}
    notes = []
    train(tmp_path / "text.txt", tmp_path / "tuned", settings=small, init_from=tmp_path / "run", listener=notes.append)
    tuned = load(tmp_path / "tuned", device="cpu")
    assert "the missing 2 are called" in tuned.warnings[0]
    assert any(tuned.warnings[0] == getattr(note, "text", None) for note in notes)
    assert (tuned.tokenizer.kind, tuned.tokenizer.itos[:3]) == ("word", ("<unk>", "<eos>", "w2"))


def test_no_vocabulary_is_a_warning_for_whoever_uses_the_model(tmp_path):
    save_model(tmp_path / "app", word_layout(Stacked(13)), "best-val-lstm_lm.pt")
    model = load(tmp_path / "app")
    assert "placeholder of 13 entries" in model.warnings[0]
    assert model.info()["warnings"] == list(model.warnings)
    assert re.match(r"token_\d+", model.generate("hello", seed=1).samples[0].text.strip())


def test_a_vocabulary_inside_the_checkpoint_is_found(tmp_path):
    content = {"model_state_dict": word_layout(Stacked(13)), "itos": words(13)}
    imported = import_checkpoint(save_model(tmp_path, content), tmp_path / "run")
    assert imported.vocabulary == "itos in model.pt"
    assert load(tmp_path / "run").tokenizer.itos == tuple(words(13))


def test_the_vocabulary_that_was_asked_for_wins(folder, tmp_path):
    (tmp_path / "other.json").write_text(json.dumps({"itos": [f"v{index}" for index in range(13)]}))
    import_checkpoint(folder, tmp_path / "run", tmp_path / "other.json")
    assert load(tmp_path / "run").tokenizer.itos[1] == "v1"


@pytest.mark.parametrize("characters", [["<unk>", "\n", " ", *"abcdefgh"], [*"abcdefgh", " ", "<unk>", "\n"]])
def test_the_character_model_comes_with_its_characters(tmp_path, characters):
    model = GateByGate(11)
    save_model(tmp_path / "artefacts", model.state, "story_lstm_scratch_full.pt")
    (tmp_path / "artefacts" / "vocab_char_full.json").write_text(json.dumps({"itos": characters}))
    back = load(tmp_path / "artefacts")
    assert back.tokenizer.kind == "character"
    order = [characters.index(entry) for entry in back.tokenizer.itos]
    text = "a bad\ncafe"
    ids = torch.tensor([[characters.index(c) for c in text]])
    with torch.no_grad():
        logits, _ = back.network(torch.from_numpy(back.tokenizer.encode(text).astype(np.int64))[None])
    torch.testing.assert_close(logits, model(ids)[..., order], atol=1e-5, rtol=1e-5)


def test_a_character_vocabulary_without_unk_gets_one_that_changes_no_probability(tmp_path):
    characters = [*"abcdefgh", " ", "\n", "."]
    model = GateByGate(11)
    path = save_model(tmp_path, model.state)
    (tmp_path / "vocab_char_full.json").write_text(json.dumps({"itos": characters}))
    import_checkpoint(path, tmp_path / "run")
    back = load(tmp_path / "run")
    assert back.tokenizer.itos == ("<unk>", *characters)
    with torch.no_grad():
        probabilities = back.network(IDS + 1)[0].softmax(-1)
        torch.testing.assert_close(probabilities[..., 1:], model(IDS).softmax(-1), atol=1e-6, rtol=1e-5)
        unknown = back.network(torch.tensor([[0]]))[0]
        torch.testing.assert_close(unknown[0, 0, 1:], model(torch.tensor([[0]]))[0, 0], atol=1e-5, rtol=1e-5)
    assert probabilities[..., 0].max() < 1e-9


def test_a_temporary_run_has_the_folders_name_and_leaves_nothing_behind(folder, monkeypatch, tmp_path):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    model = load(folder)
    assert model.name == "app"
    assert list((tmp_path / "temporary").iterdir())
    del model
    assert list((tmp_path / "temporary").iterdir()) == []
    (folder / "lotr_lstm_lm.pt").write_bytes(b"damaged")
    with pytest.raises(UserError, match="not a PyTorch checkpoint"):
        load(folder)
    assert list((tmp_path / "temporary").iterdir()) == []
    assert sorted(path.name for path in folder.iterdir()) == ["lotr_lstm_lm.pt", "vocab.pkl"]


def test_a_run_that_stands_there_is_kept_unless_forced(folder, run):
    before = (run / "model.safetensors").read_bytes()
    with pytest.raises(UserError, match="already holds a run"):
        import_checkpoint(folder, run)
    assert (run / "model.safetensors").read_bytes() == before
    import_checkpoint(folder, run, force=True)
    assert load(run).tokenizer.kind == "word"


def test_a_damaged_checkpoint_does_not_cost_the_run_that_it_should_replace(folder, run):
    (folder / "lotr_lstm_lm.pt").write_bytes(b"damaged")
    with pytest.raises(UserError, match="not a PyTorch checkpoint"):
        import_checkpoint(folder, run, force=True)
    assert load(run).tokenizer.kind == "character"


def test_the_hash_is_that_of_the_file_that_was_read_even_if_its_name_leads_elsewhere_by_then(
    folder, tmp_path, monkeypatch
):
    path, read_model = folder / "lotr_lstm_lm.pt", checkpoint_to_run.read_model
    expected = hashlib.sha256(path.read_bytes()).hexdigest()

    def replace_then_read(*arguments):
        path.unlink()
        path.write_bytes(b"another file")
        return read_model(*arguments)

    monkeypatch.setattr(checkpoint_to_run, "read_model", replace_then_read)
    assert import_checkpoint(path, tmp_path / "run").config.imported_from["sha256"] == expected
