"""Only regular files are opened, and they are read up to a limit."""

import os
import socket
import tracemalloc

import pytest

from unrolled.errors import UserError
from unrolled.files import open_regular, read_regular

posix = pytest.mark.skipif(os.name != "posix", reason="special files of POSIX systems")


def test_a_regular_file_is_read_whole(tmp_path):
    path = tmp_path / "five.bin"
    path.write_bytes(b"12345")
    assert read_regular(path, 5) == b"12345"
    with open_regular(path, 5) as file:
        assert file.read(3) == b"123"


def test_a_small_file_takes_little_memory_whatever_the_bound(tmp_path):
    path = tmp_path / "blocks.bin"
    content = bytes(range(256)) * 5_000
    path.write_bytes(content)
    tracemalloc.start()
    assert read_regular(path, 2**40) == content
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 5 * len(content)


def test_a_link_to_a_regular_file_is_followed(tmp_path):
    (tmp_path / "target").write_bytes(b"abc")
    (tmp_path / "link").symlink_to("target")
    assert read_regular(tmp_path / "link", 10) == b"abc"


def test_a_file_above_the_bound_is_refused(tmp_path):
    path = tmp_path / "six.bin"
    path.write_bytes(b"123456")
    for read in (open_regular, read_regular):
        with pytest.raises(UserError, match="larger than 5 bytes"):
            read(path, 5)


def test_a_missing_file_is_the_callers_to_explain(tmp_path):
    for read in (open_regular, read_regular):
        with pytest.raises(FileNotFoundError):
            read(tmp_path / "none", 5)


@posix
def test_a_pipe_is_refused_without_waiting_for_its_writer(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="is a named pipe, not a regular file"):
        read_regular(tmp_path / "pipe", 5)


@posix
def test_a_link_to_a_device_is_refused(tmp_path):
    (tmp_path / "zero").symlink_to("/dev/zero")
    with pytest.raises(UserError, match="is a device"):
        read_regular(tmp_path / "zero", 5)


@posix
def test_a_directory_and_a_socket_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the path of a socket is limited to about 100 characters
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("socket")
        with pytest.raises(UserError, match="socket"):
            read_regular("socket", 5)
    with pytest.raises(UserError, match="directory"):
        read_regular(tmp_path, 5)


def test_a_link_to_itself_and_a_path_with_a_null_are_refused(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    for path in (tmp_path / "loop", f"{tmp_path}/a\0b"):
        with pytest.raises(UserError, match="cannot be read"):
            read_regular(path, 5)


@posix
def test_a_file_that_claims_to_be_empty_is_read_to_the_bound_and_no_further():
    """Files in /proc have size zero, yet have content."""
    if not os.path.exists("/proc/self/maps"):
        pytest.skip("no /proc here")
    with pytest.raises(UserError, match="larger than 10 bytes"):
        read_regular("/proc/self/maps", 10)


@posix
def test_no_file_descriptor_is_left_open_by_a_refusal(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    before = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    os.close(before)
    with pytest.raises(UserError):
        open_regular(tmp_path / "pipe", 5)
    after = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    os.close(after)
    assert after == before
