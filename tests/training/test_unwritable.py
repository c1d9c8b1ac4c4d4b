"""A file of a run that cannot be written: the advice is one that can be followed."""

import errno
import os
import resource
import shlex

import pytest

from unrolled.errors import UserError
from unrolled.runs import RunFolder
from unrolled.training import Stepped, resume


@pytest.fixture
def full_disk(monkeypatch):
    """Let no file be put in place whose name ends like this."""
    original = os.replace

    def give(name):
        def replace(source, target):
            if str(target).endswith(name):
                raise OSError(errno.ENOSPC, "No space left on device")
            original(source, target)

        monkeypatch.setattr(os, "replace", replace)

    return give


def followed(message, train_tiny, folder):
    """Do what the message says, on a disk that has room again."""
    if "--resume" in message:
        return resume(shlex.split(message.partition("--resume ")[2].rstrip("."))[0])
    return train_tiny(folder.name, force="--force" in message)


def test_a_disk_full_before_the_first_checkpoint_advises_to_start_again(train_tiny, tmp_path, full_disk):
    full_disk("last.safetensors")
    with pytest.raises(UserError, match="disk is full") as caught:
        train_tiny("my run")
    message = str(caught.value)
    assert "--resume" not in message
    assert f"same command and --force --out {shlex.quote(str(tmp_path / 'my run'))}." in message
    full_disk("nothing")
    assert followed(message, train_tiny, tmp_path / "my run").step == 24


@pytest.mark.parametrize("force", [False, True])
def test_a_disk_too_full_to_begin_leaves_a_folder_in_which_a_run_can_begin(train_tiny, tmp_path, full_disk, force):
    if force:
        train_tiny("my run")
    full_disk("config.json")
    with pytest.raises(UserError, match=r"Nothing had been saved yet\.$") as caught:
        train_tiny("my run", force=force)
    full_disk("nothing")
    assert followed(str(caught.value), train_tiny, tmp_path / "my run").step == 24


@pytest.mark.parametrize("victim", ["metrics.jsonl", "model.safetensors", "last.safetensors", "README.md"])
def test_a_disk_full_after_the_first_checkpoint_advises_to_resume(train_tiny, tmp_path, full_disk, victim):
    if victim == "metrics.jsonl" and not os.path.exists("/dev/full"):
        pytest.skip("needs Linux's /dev/full")

    def fill(event):
        if isinstance(event, Stepped) and event.step == 3:
            if victim == "metrics.jsonl":  # which is appended to, not replaced
                (tmp_path / "my run" / victim).symlink_to("/dev/full")
            full_disk(victim)

    with pytest.raises(UserError, match="disk is full") as caught:
        train_tiny("my run", listener=fill)
    message = str(caught.value)
    assert message.endswith(f"continues with: unrolled train --resume {shlex.quote(str(tmp_path / 'my run'))}.")
    if victim == "metrics.jsonl":
        (tmp_path / "my run" / victim).unlink()
    full_disk("nothing")
    assert followed(message, train_tiny, tmp_path / "my run").step == 24


def test_a_limit_on_the_size_of_files_is_told_with_the_same_advice(train_tiny, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (9000, hard))  # enough for the text and the settings
    try:
        with pytest.raises(UserError, match="ulimit -f") as caught:
            train_tiny("run", {"model.hidden_size": 30})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not RunFolder(tmp_path / "run").checkpoint.exists()
    assert "--resume" not in str(caught.value)
    assert followed(str(caught.value), train_tiny, tmp_path / "run").step == 24
