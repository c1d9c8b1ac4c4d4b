"""The history on a full disk: entries can be read and deleted, or the message says how much space is needed."""

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from unrolled.web.history import history as history_module
from unrolled.web.history.history import NOT_KEPT, Entry, History, HistoryTrouble, Query
from unrolled.web.history.reserve import RESERVE_BYTES

FULL = "database or disk is full"


def entry(text="went on"):
    return Entry(1_700_000_000.0, "page", "stories", "Once", text, "length", 5, 0.25, 7, {"temperature": 0.5})


@pytest.fixture
def history(tmp_path):
    made = History(tmp_path / "history.sqlite3", 0, patience_seconds=0.05)
    made.keep([entry(str(number)) for number in range(30)])
    return made


@pytest.fixture
def full_disk(history, monkeypatch):
    """Return a function that fills the disk: a journal then holds `most` deleted rows where the reserve made way."""
    reserve = reserve_of(history)
    opened = sqlite3.connect

    def fill(most):
        class OnFullDisk(sqlite3.Connection):
            def execute(self, statement, *values):
                if statement.startswith("INSERT"):
                    raise sqlite3.OperationalError(FULL)
                return super().execute(statement, *values)

            def executemany(self, statement, rows):
                rows = list(rows)
                if statement.startswith("INSERT") or reserve.exists() or len(rows) > most:
                    raise sqlite3.OperationalError(FULL)
                return super().executemany(statement, rows)

        monkeypatch.setattr(
            sqlite3, "connect", lambda address, **options: opened(address, factory=OnFullDisk, **options)
        )

    return fill


def reserve_of(history):
    return history.file.with_name(f"{history.file.name}-reserve")


def test_room_is_set_aside_for_this_user_alone(history):
    reserve = reserve_of(history)
    assert reserve.stat().st_size == RESERVE_BYTES
    assert reserve.stat().st_blocks * 512 >= RESERVE_BYTES
    assert reserve.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("most", [1, 3, 30])
def test_on_a_full_disk_the_reserve_makes_way_and_texts_are_deleted_in_portions(history, full_disk, most):
    full_disk(most)
    assert history.keep([entry()]) is NOT_KEPT
    assert history.trouble.reason == "its disk is full"
    assert history.can_delete
    assert history.delete(7) == 1
    assert reserve_of(history).stat().st_size == RESERVE_BYTES
    assert history.delete_matching(Query()) == 29
    assert history.count(Query()) == 0
    assert reserve_of(history).stat().st_size == RESERVE_BYTES


def test_where_even_the_reserve_is_too_small_the_room_that_is_needed_is_said(history, full_disk):
    full_disk(0)
    with pytest.raises(HistoryTrouble, match=r"^The disk is full: .* about 65 KB must be free on the disk of the"):
        history.delete(7)
    assert history.count(Query()) == 30
    assert reserve_of(history).exists()


def test_the_room_that_the_reserve_gave_back_is_for_deletions_alone(history, monkeypatch):
    reserve = reserve_of(history)
    delete = history._delete_portion
    refused = []

    def with_a_text_in_between(ids):
        if reserve.exists():
            raise history_module._NoRoom
        refused.append(history.keep([entry("new")]))
        return delete(ids)

    monkeypatch.setattr(history, "_delete_portion", with_a_text_in_between)
    assert history.delete(7) == 1
    assert refused == [NOT_KEPT]
    assert history.keep([entry("later")]) is None
    assert reserve.exists()


def test_a_reserve_that_was_lost_in_a_crash_is_set_aside_before_anything_else(history, monkeypatch):
    reserve_of(history).unlink()
    probed = []
    monkeypatch.setattr(
        history_module.HistoryFile, "probe", lambda *given: probed.append(reserve_of(history).stat().st_size)
    )
    History(history.file, 0)
    assert probed == [RESERVE_BYTES]


def test_a_history_on_a_full_disk_opens_and_keeps_texts_again_once_there_is_room(history, full_disk, monkeypatch):
    full_disk(30)
    again = History(history.file, 0, patience_seconds=0.05)
    assert again.trouble.kind == "full"
    assert len(list(again.entries(Query()))) == 30
    again.check()
    assert again.trouble.kind == "full"
    monkeypatch.undo()
    again.check()
    assert again.trouble is None
    assert again.keep([entry()]) is None


@pytest.mark.parametrize("in_the_way", [Path.mkdir, os.mkfifo] if hasattr(os, "mkfifo") else [Path.mkdir])
def test_what_lies_in_the_reserves_place_stops_nothing(tmp_path, in_the_way):
    in_the_way(tmp_path / "history.sqlite3-reserve")
    history = History(tmp_path / "history.sqlite3", 0)
    assert history.keep([entry()]) is None
    assert history.delete(1) == 1


ON_A_SMALL_DISK = """
import sys
from pathlib import Path
from unrolled.web.history import history as history_module
from unrolled.web.history.history import NOT_KEPT, Entry, History, Query

def entry(number):
    text = f"<{number}> " + "word " * (20 * number % 4_000)
    return Entry(2e9, "page", "stories", "Once", text, "length", 5, 0.25, 7, {})

disk = Path(sys.argv[1])
history = History(disk / "history.sqlite3", 0)
number = 0
while history.keep([entry(number)]) is None:
    number += 1
assert history.trouble.kind == "full", history.trouble
with open(disk / "other", "wb", buffering=0) as other:
    try:
        while True:
            other.write(b"x" * 512)
    except OSError:
        pass
again = History(history.file, 0)
assert again.trouble.kind == "full", again.trouble
assert [kept.text for kept in again.entries(Query())] == [entry(each).text for each in range(number)]
assert again.keep([entry(0)]) is NOT_KEPT
assert again.delete(1) == 1
assert again.delete_matching(Query("<9")) > 1
left = again.count(Query())
assert again.delete_matching(Query()) == left > 20
assert b"word" not in again.file.read_bytes()
(disk / "other").unlink()
again.check()
assert again.trouble is None and again.keep([entry(0)]) is None
"""
UNSHARE = ["unshare", "--user", "--map-root-user", "--mount"]


@pytest.mark.skipif(
    shutil.which("unshare") is None
    or subprocess.run([*UNSHARE, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True).returncode != 0,
    reason="needs a mount of its own: user namespaces of Linux",
)
def test_on_a_real_disk_of_a_megabyte_all_texts_can_be_read_and_deleted(tmp_path):
    mount = 'mount -t tmpfs -o size=1m tmpfs "$1" && exec "$2" -W error -c "$3" "$1"'
    command = [*UNSHARE, "sh", "-c", mount, "sh", str(tmp_path), sys.executable, ON_A_SMALL_DISK]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
