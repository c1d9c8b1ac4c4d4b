"""The stored choice of a kernel: it counts where it was measured, and no file can do harm."""

import json
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unrolled.errors import UserError
from unrolled.kernels import read_choice, select_kernel, store_choice, stored_choice
from unrolled.kernels.select import MEASURED, explain_kernels

ANOTHER = {"machine": "abacus, 1 cores", "torch": "1.0", "unrolled": "0.0.1", "native": "compiled C, pdp11"}


@pytest.fixture
def stored():
    """The file of a choice that counts here, of a kernel that auto would not take by itself."""
    return store_choice("reference", "stories")


def change(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **changes}), "utf-8")


def test_auto_takes_what_was_measured_here_and_says_so(stored):
    assert (select_kernel().kernel.name, select_kernel().reason) == ("reference", MEASURED)
    assert read_choice().shape == "stories"
    assert "`unrolled bench kernels --store`" in MEASURED


def test_a_name_and_another_device_override_the_stored_choice(stored):
    assert (select_kernel("fused").kernel.name, select_kernel("fused").reason) == ("fused", "as requested")
    assert select_kernel("auto", "cuda").kernel.name == "fused"


def test_a_second_choice_replaces_the_first_and_leaves_nothing_beside_it(stored):
    store_choice("fused", "words")
    assert (read_choice().kernel, read_choice().shape) == ("fused", "words")
    assert os.listdir(stored.parent) == [stored.name]


@pytest.mark.parametrize("what", ANOTHER)
def test_a_choice_that_was_measured_in_other_circumstances_is_ignored_and_info_says_why(stored, what):
    usual = {**json.loads(stored.read_text("utf-8"))["circumstances"]}
    assert set(usual) == set(ANOTHER)
    change(stored, circumstances={**usual, what: ANOTHER[what]})
    assert select_kernel().kernel.name != "reference"
    assert explain_kernels()["stored_choice"] == f"reference, ignored: measured with another {what}"
    change(stored, circumstances=usual)
    assert select_kernel().kernel.name == "reference"


def test_a_choice_of_a_kernel_that_is_not_here_is_ignored(stored):
    change(stored, kernel="cudnn")
    assert select_kernel().reason != MEASURED
    assert "cudnn" not in explain_kernels()["stored_choice"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe\x00",
        b"[" * 9_000,
        b"9" * 9_000,
        b"null",
        b"[]",
        b'{"format_version": 1}',
        b'{"format_version": 1, "kernel": ["reference"], "shape": "stories", "circumstances": {}}',
        b'{"format_version": 1, "kernel": "reference", "shape": 3, "circumstances": {}}',
        b'{"format_version": 1, "kernel": "reference", "shape": "stories", "circumstances": "all"}',
        b'{"format_version": 2, "kernel": "reference", "shape": "stories", "circumstances": {}}',
    ],
)
def test_a_damaged_or_foreign_file_is_as_good_as_none(stored, content):
    stored.write_bytes(content)
    assert read_choice() is None
    assert select_kernel().reason != MEASURED
    assert explain_kernels()["stored_choice"].startswith("none;")


@given(
    values=st.dictionaries(
        st.sampled_from(["format_version", "kernel", "shape", "circumstances", "more"]),
        st.sampled_from(["reference", "stories", 1, 1.5, None, True, [], {}, {"torch": 1}, {"torch": [1]}, 10**400]),
    )
    | st.binary(max_size=30)
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_content_is_a_choice_or_as_good_as_none(stored, values):
    stored.write_bytes(values if isinstance(values, bytes) else json.dumps(values).encode())
    choice = read_choice()
    assert choice is None or isinstance(choice.kernel, str)
    assert select_kernel().kernel.name in ("native", "fused")
    assert isinstance(explain_kernels()["stored_choice"], str)


def test_a_file_too_large_to_be_ours_is_not_read(stored):
    stored.write_text(stored.read_text("utf-8") + " " * stored_choice.LARGEST_BYTES, "utf-8")
    assert read_choice() is None


def test_a_pipe_or_a_folder_in_its_place_is_not_waited_for(stored):
    stored.unlink()
    stored.mkdir()
    assert read_choice() is None
    if hasattr(os, "mkfifo"):
        stored.rmdir()
        os.mkfifo(stored)
        assert read_choice() is None


def test_a_user_without_a_home_still_gets_a_kernel(monkeypatch):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(stored_choice, "default_cache_folder", no_home)
    assert select_kernel().kernel.name in ("native", "fused")
    with pytest.raises(UserError, match="could not be stored"):
        store_choice("fused", "stories")


def test_where_nothing_can_be_written_one_sentence_says_what_to_do(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("UNROLLED_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"could not be stored .*set UNROLLED_CACHE"):
        store_choice("fused", "stories")
    assert read_choice() is None


def test_a_write_that_fails_keeps_the_choice_before_it(stored, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="No space left"):
        store_choice("fused", "stories")
    assert read_choice().kernel == "reference"
    assert os.listdir(stored.parent) == [stored.name]
