"""Writing a file whole or not at all, with real and with simulated failures."""

import errno
import os
import resource

import pytest

from unrolled.atomic_write import remove_leftovers
from unrolled.errors import UserError
from unrolled.runs.atomic import write_atomically


def test_the_new_content_replaces_the_old_and_nothing_else_is_left(tmp_path):
    target = tmp_path / "a.json"
    target.write_bytes(b"old")
    write_atomically(target, b"new")
    assert target.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a.json"]


@pytest.mark.parametrize("failing", ["replace", "fsync"])
@pytest.mark.parametrize(
    ("number", "words"), [(errno.ENOSPC, "disk is full"), (errno.EDQUOT, "disk is full"), (errno.EACCES, "permissions")]
)
def test_a_failure_leaves_the_old_file_and_no_temporary_one(tmp_path, monkeypatch, failing, number, words):
    target = tmp_path / "a.json"
    target.write_bytes(b"old")

    def fail(*arguments):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(UserError, match=words):
        write_atomically(target, b"new")
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_file_larger_than_the_system_allows_leaves_the_old_one(tmp_path):
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(UserError, match="cannot be written"):
            write_atomically(target, bytes(5000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


@pytest.mark.skipif(os.name != "posix", reason="links and pipes of POSIX systems")
@pytest.mark.parametrize("what", ["link", "pipe"])
def test_nothing_is_written_through_what_stands_at_the_temporary_name(tmp_path, what):
    (tmp_path / "precious").write_bytes(b"old")
    temporary = tmp_path / f".a.json.{os.getpid()}.part"
    temporary.symlink_to("precious") if what == "link" else os.mkfifo(temporary)
    write_atomically(tmp_path / "a.json", b"new")
    assert (tmp_path / "precious").read_bytes() == b"old"
    assert (tmp_path / "a.json").read_bytes() == b"new"
    assert not (tmp_path / "a.json").is_symlink()


def test_a_missing_folder_is_a_plain_sentence(tmp_path):
    with pytest.raises(UserError, match="cannot be written"):
        write_atomically(tmp_path / "none" / "a.json", b"new")


def test_leftovers_of_killed_writers_are_removed_and_other_hidden_files_stay(tmp_path):
    for name in (".a.json.123.part", ".mine", "b.part"):
        (tmp_path / name).write_bytes(b"x")
    remove_leftovers(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [".mine", "b.part"]
