"""Beginning a run: what may be replaced and what is never touched."""

import errno
import json
import os

import pytest

from unrolled.errors import UserError
from unrolled.runs import RunFolder


@pytest.fixture
def begin(run):
    """Begin a run like `run` somewhere else."""
    config = RunFolder(run).read_config()
    tokenizer = RunFolder(run).read_tokenizer(config)
    return lambda path, force=False: RunFolder(path).begin(config, tokenizer, force)


def content(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_new_run_reads_back_as_it_was_written(run, begin, tmp_path):
    begin(tmp_path / "a" / "b")
    assert RunFolder(tmp_path / "a" / "b").read_config() == RunFolder(run).read_config()
    assert (tmp_path / "a" / "b" / "checkpoints").is_dir()


def test_a_run_is_never_overwritten_without_force(run, begin):
    before = content(run)
    with pytest.raises(UserError, match=r"--resume .*--force"):
        begin(run)
    assert content(run) == before


def test_force_removes_the_files_of_a_run_and_nothing_else(run, begin):
    (run / "notes.txt").write_text("mine")
    (run / "checkpoints" / "kept.safetensors").write_text("mine too")
    (run / "checkpoints" / ".last.safetensors.77.part").write_text("left by a killed process")
    begin(run, force=True)
    assert set(content(run)) == {
        "config.json",
        "tokenizer.json",
        "vocab.json",
        "notes.txt",
        os.path.join("checkpoints", "kept.safetensors"),
    }


@pytest.mark.parametrize("config", [None, '{"model_type": "gpt2"}', "{ not JSON", "[]"])
def test_a_folder_that_is_no_run_is_never_touched(begin, tmp_path, config):
    folder = tmp_path / "precious"
    folder.mkdir()
    (folder / "README.md").write_text("a year of work")
    if config is not None:
        (folder / "config.json").write_text(config)
    before = content(folder)
    for force in (False, True):
        with pytest.raises(UserError, match="choose another folder"):
            begin(folder, force)
    assert content(folder) == before


def test_an_empty_folder_may_be_taken_and_a_file_may_not(begin, tmp_path):
    (tmp_path / "empty").mkdir()
    begin(tmp_path / "empty")
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="is a file"):
        begin(tmp_path / "file", force=True)
    with pytest.raises(UserError, match="cannot be written"):
        begin(tmp_path / "file" / "below")


def test_a_disk_that_is_full_at_the_start_leaves_something_that_force_replaces(run, begin, tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("unrolled.text.characters.write_whole", full)
        with pytest.raises(UserError, match="No space left"):
            begin(tmp_path / "new")
    begin(tmp_path / "new", force=True)
    assert json.loads((tmp_path / "new" / "vocab.json").read_text()) == json.loads((run / "vocab.json").read_text())


def test_runs_near_a_wrong_path_are_named(run):
    with pytest.raises(UserError, match=r"There is no run at .*; runs near it: .*fox"):
        RunFolder(run.parent / "fix").read_config()
    with pytest.raises(UserError, match=r"config.json is missing; runs near it: .*fox"):
        RunFolder(run.parent).read_config()
