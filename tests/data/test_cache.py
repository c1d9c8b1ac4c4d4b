"""Where corpora are kept, and entries that appear whole or not at all."""

import errno
import os

import pytest

from unrolled.data.cache import build_entry, disk_full_is_plain, writable_corpora_folder
from unrolled.errors import UserError


def whole(entry):
    return (entry / "done").exists()


def fill(folder):
    (folder / "part").write_text("new")
    (folder / "done").touch()


def test_a_folder_that_cannot_be_written_gives_a_temporary_one_and_a_note(tmp_path):
    (tmp_path / "file").touch()
    folder, note = writable_corpora_folder(tmp_path / "file")
    assert folder.is_dir()
    assert str(tmp_path / "file") in note
    assert writable_corpora_folder(tmp_path / "new") == (tmp_path / "new" / "corpora", None)


def test_an_entry_that_fails_leaves_nothing(tmp_path):
    def failing(folder):
        (folder / "part").write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match="space"):
        build_entry(tmp_path / "key", failing, whole)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_entry_is_replaced_and_a_whole_one_of_another_process_is_kept(tmp_path):
    entry = tmp_path / "key"
    entry.mkdir()
    (entry / "part").write_text("damaged")
    build_entry(entry, fill, whole)
    assert (entry / "part").read_text() == "new"
    (entry / "part").write_text("of another process")
    build_entry(entry, fill, whole)
    assert (entry / "part").read_text() == "of another process"
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_a_full_disk_is_one_plain_sentence_and_other_problems_pass(tmp_path):
    with pytest.raises(UserError, match=f"disk with {tmp_path} is full"), disk_full_is_plain(tmp_path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(PermissionError), disk_full_is_plain(tmp_path):
        raise PermissionError(errno.EACCES, "denied")
