"""Nothing in a file from elsewhere is executed, and no lie in it costs memory: each is refused in one sentence."""

import pickle
import re

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.importers.elsewhere import Stacked, save_model, word_layout, words
from tests.importers.hostile import CHECKPOINTS, VOCABULARIES, archive, touch
from tests.importers.hostile_zips import CONTENT, packed
from unrolled import load
from unrolled.errors import UserError
from unrolled.importers import import_checkpoint, pickles
from unrolled.importers.checkpoint_file import read_checkpoint
from unrolled.importers.vocabulary_file import read_vocabulary

FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def assert_one_sentence(message):
    assert "\n" not in message
    assert message.endswith(".")
    assert "Traceback" not in message
    assert not re.search(r"\.\s+[A-Z]", message.partition(" ")[2])


def complaint(use):
    """Return what the user is told, or nothing where all is well; any other error goes through."""
    try:
        use()
    except UserError as error:
        return str(error)
    return ""


def test_the_payload_would_run(tmp_path):
    pickle.loads(pickle.dumps(touch(tmp_path / "ran")))
    torch.load(archive(tmp_path / "model.pt", touch(tmp_path / "ran too")), weights_only=False)
    assert (tmp_path / "ran").exists()
    assert (tmp_path / "ran too").exists()


def test_the_archive_that_is_made_hostile_is_a_good_one(tmp_path):
    (tmp_path / "model.pt").write_bytes(packed(CONTENT))
    assert read_checkpoint(tmp_path / "model.pt") == torch.load(tmp_path / "model.pt", weights_only=True) == {}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_hostile_checkpoint_is_refused_and_nothing_runs(tmp_path, monkeypatch, name):
    make, expected = CHECKPOINTS[name]
    (tmp_path / "from").mkdir()
    marker = tmp_path / "ran"
    path = make(tmp_path / "from", marker)
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("PyTorch was asked to open it"))
    with pytest.raises(UserError) as error:
        import_checkpoint(path, tmp_path / "run")
    assert expected in str(error.value)
    assert_one_sentence(str(error.value))
    assert not marker.exists()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", VOCABULARIES)
def test_a_hostile_vocabulary_is_refused_and_nothing_runs(tmp_path, name):
    make, expected = VOCABULARIES[name]
    marker = tmp_path / "ran"
    with pytest.raises(UserError) as error:
        read_vocabulary(make(tmp_path, marker))
    assert expected in str(error.value)
    assert_one_sentence(str(error.value))
    assert not marker.exists()


def test_a_hostile_vocabulary_stops_the_import_of_a_good_checkpoint(tmp_path):
    path = save_model(tmp_path / "from", word_layout(Stacked()))
    VOCABULARIES["runs code, protocol 4"][0](path.parent, tmp_path / "ran")
    for asked in (path, path.parent):
        with pytest.raises(UserError, match="Python object"):
            import_checkpoint(asked, tmp_path / "run")
    with pytest.raises(UserError, match="Python object"):
        load(path.parent)
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "run").exists()


def test_a_pickle_of_endless_instructions_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(pickles, "MOST_INSTRUCTIONS", 1000)
    (tmp_path / "vocab.pkl").write_bytes(b"\x80\x02]" + b"]a" * 5000 + b".")
    with pytest.raises(UserError, match="more than 1,000 objects"):
        read_vocabulary(tmp_path / "vocab.pkl")


def test_files_that_are_too_large_are_not_read(tmp_path):
    for name, read in (("model.pt", read_checkpoint), ("vocab.pkl", read_vocabulary)):
        with (tmp_path / name).open("wb") as file:
            file.truncate(17 * 2**30)  # sparse: takes no room on the disk
        with pytest.raises(UserError, match="too large to be what it should be"):
            read(tmp_path / name)


@FUZZ
@given(data=st.data())
def test_damage_anywhere_is_one_sentence_or_harmless(tmp_path, data):
    path = save_model(tmp_path / "from", word_layout(Stacked()), "fuzz.pt")
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)
    assert "\n" not in complaint(lambda: import_checkpoint(path, tmp_path / "fuzz", force=True))


@FUZZ
@given(data=st.data())
def test_a_damaged_vocabulary_is_one_sentence_or_words(tmp_path, data):
    protocol = data.draw(st.integers(0, 5))
    content = bytearray(pickle.dumps(words(11), protocol))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / "vocab.pkl").write_bytes(content)
    assert "\n" not in complaint(lambda: read_vocabulary(tmp_path / "vocab.pkl"))
