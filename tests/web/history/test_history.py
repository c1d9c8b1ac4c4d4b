"""The history's file: storing, searching, deleting and expiring entries, concurrently and after failures."""

import os
import random
import sqlite3
import stat
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress

import pytest

from unrolled.errors import UserError
from unrolled.web.history import backlog as history_backlog
from unrolled.web.history import history as history_module
from unrolled.web.history.history import Entry, History, HistoryTrouble, Query, default_history_file

DAY = 86_400


class Clock:
    """Seconds that pass only when told."""

    def __init__(self):
        self.now = 1_700_000_000.0

    def __call__(self):
        return self.now


def entry(text="went on", prompt="Once", model="stories", created=1_700_000_000.0, seed=7):
    return Entry(created, "page", model, prompt, text, "length", 5, 0.25, seed, {"temperature": 0.5, "stop": ["\n"]})


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def history(tmp_path, clock):
    return History(tmp_path / "data" / "history.sqlite3", 90, clock, patience_seconds=0.05)


def texts(history, query=Query()):  # noqa: B008
    return [kept.text for kept in history.entries(query)]


def test_what_is_kept_comes_back_exactly_as_it_was(history):
    odd = entry("\x00 é \U0001f40e\n\t%_'\"", prompt="", model="a b", seed=-(2**63))
    assert history.keep([odd, entry()]) is None
    first, second = history.entries(Query())
    assert (first.id, second.id) == (1, 2)
    assert first == Entry(**{**vars(odd), "id": 1})
    assert second == Entry(**{**vars(entry()), "id": 2})


def test_it_lasts_beyond_the_program_that_wrote_it(history, clock):
    history.keep([entry("first")])
    assert texts(History(history.file, 90, clock)) == ["first"]


def test_a_search_finds_its_text_in_prompt_and_continuation_whatever_the_case_and_takes_signs_as_they_are(history):
    kept = ["Straße 100%", "straßen_name", "strassex", "a*b", "A\\b", "é"]
    history.keep([entry(text) for text in kept] + [entry("", prompt="ÉTÉ"), entry("none")])
    naive = [*kept, "", "none"]
    prompts = ["Once"] * 6 + ["ÉTÉ", "Once"]
    for needle in ("STRASSE", "%", "_", "*", "\\", "é", "xyz", "E"):
        expected = [
            text
            for text, prompt in zip(naive, prompts, strict=True)
            if any(needle.casefold() in whole.casefold() for whole in (text, prompt))
        ]
        assert texts(history, Query(needle)) == expected
        assert history.count(Query(needle)) == len(expected)


def test_a_search_can_keep_to_one_model(history):
    history.keep([entry("one", model="a"), entry("two", model="b"), entry("three", model="a")])
    assert texts(history, Query(model="a")) == ["one", "three"]
    assert texts(history, Query("t", "a")) == ["three"]
    assert history.models() == ["a", "b"]


def test_pages_show_the_newest_first_and_the_export_reads_all_in_batches(history, monkeypatch):
    monkeypatch.setattr(history_module, "BATCH", 4)
    history.keep([entry(str(number)) for number in range(11)])
    assert [kept.text for kept in history.page(Query(), 0, 3)] == ["10", "9", "8"]
    assert [kept.text for kept in history.page(Query(), 9, 3)] == ["1", "0"]
    assert texts(history) == [str(number) for number in range(11)]


def test_an_export_goes_on_while_texts_are_added_and_deleted(history, monkeypatch):
    monkeypatch.setattr(history_module, "BATCH", 2)
    history.keep([entry(str(number)) for number in range(5)])
    reading = history.entries(Query())
    assert [next(reading).text for _ in range(2)] == ["0", "1"]
    history.delete(4)
    history.keep([entry("new")])
    assert [kept.text for kept in reading] == ["2", "4", "new"]


def test_what_is_deleted_is_gone_from_the_file_itself(history):
    with closing(sqlite3.connect(history.file)) as other:  # while one is open, nobody tidies the log up on leaving
        other.execute("SELECT COUNT(*) FROM texts").fetchall()
        history.keep([entry("a secret thing"), entry("stays")])
        assert history.delete(1) == 1
        assert history.delete(1) == 0
        files = [path.read_bytes() for path in history.file.parent.iterdir()]
        assert len(files) == 3
        assert not any(b"a secret thing" in content for content in files)
    assert history.delete_matching(Query("nothing")) == 0
    assert texts(history) == ["stays"]
    assert history.delete_matching(Query("STAYS")) == 1


def test_what_is_too_old_is_never_shown_and_deleted_at_the_start(history, clock):
    history.keep([entry("old", created=clock.now), entry("young", created=clock.now + DAY)])
    clock.now += 90 * DAY + 1
    assert texts(history) == ["young"]
    assert history.count(Query("old")) == 0
    assert texts(History(history.file, 0, clock)) == ["old", "young"]  # for ever: still in the file
    again = History(history.file, 90, clock)
    clock.now -= 80 * DAY
    assert texts(again) == ["young"]


def test_an_hour_later_a_new_text_makes_room(history, clock):
    history.keep([entry("old", created=clock.now)])
    clock.now += 90 * DAY + 1
    history.keep([entry("new", created=clock.now)])
    clock.now -= 90 * DAY
    assert texts(history) == ["new"]


def test_beyond_a_number_of_entries_the_oldest_are_deleted_whatever_the_days(history, tmp_path, monkeypatch):
    monkeypatch.setattr(history_module, "MOST_ENTRIES", 5)
    history.keep([entry(str(number), created=1_700_000_000.0 + number % 3) for number in range(4)])
    assert texts(history) == ["0", "1", "2", "3"]
    history.keep([entry(str(number), created=1_700_000_009.0) for number in range(4, 7)])
    assert texts(history) == ["1", "2", "4", "5", "6"]
    monkeypatch.setattr(history_module, "MOST_ENTRIES", 2)
    assert texts(History(history.file, 0)) == ["5", "6"]


def test_a_text_is_kept_though_there_was_no_time_to_delete_another(history, monkeypatch):
    monkeypatch.setattr(history_module, "MOST_ENTRIES", 1)

    def fail(ids):
        raise HistoryTrouble("locked")

    monkeypatch.setattr(history, "_delete", fail)
    assert history.keep([entry("a"), entry("b")]) is None
    assert texts(history) == ["a", "b"]


def test_the_thread_that_tidies_ends_with_the_server(history, monkeypatch):
    swept = threading.Semaphore(0)
    monkeypatch.setattr(history_module, "SWEEP_SECONDS", 0.0)
    monkeypatch.setattr(history, "sweep", swept.release)
    with history.kept_tidy():
        assert swept.acquire(timeout=30)
        assert any(thread.name == "history" for thread in threading.enumerate())
    assert not any(thread.name == "history" for thread in threading.enumerate())


def test_many_threads_and_two_programs_may_write_and_read_at_once(history, clock):
    patient = [History(history.file, 90, clock, patience_seconds=60) for _ in range(2)]

    def work(number):
        own = patient[number % 2]
        for step in range(6):
            assert own.keep([entry(f"{number}.{step}.{part}") for part in range(2)]) is None
            own.count(Query(str(number)))
        return own.delete_matching(Query(f"{number}.0.1"))

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == [1] * 8
    expected = {f"{number}.{step}.{part}" for number in range(8) for step in range(6) for part in range(2)}
    assert set(texts(patient[0])) == expected - {f"{number}.0.1" for number in range(8)}


def test_what_another_program_keeps_from_being_written_is_written_with_the_next_text(history, caplog):
    with closing(sqlite3.connect(history.file, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert history.keep([entry("a"), entry("b")]) is None
        assert "locked" in caplog.text
        with pytest.raises(HistoryTrouble, match="try again"):
            history.delete(1)
    assert history.trouble is None
    assert history.keep([entry("c")]) is None
    assert texts(history) == ["a", "b", "c"]


def test_what_waits_is_written_by_the_thread_that_tidies_or_at_the_end(history):
    with closing(sqlite3.connect(history.file, isolation_level=None)) as other, history.kept_tidy():
        other.execute("BEGIN EXCLUSIVE")
        assert history.keep([entry("a")]) is None
        other.execute("COMMIT")
    assert texts(history) == ["a"]


def test_what_waits_is_bounded_and_then_the_reader_is_told(history, caplog, monkeypatch):
    monkeypatch.setattr(history_backlog, "MOST_WAITING", 2_500)
    with closing(sqlite3.connect(history.file, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert [history.keep([entry(name)]) for name in "abc"] == [None, None, history_module.NOT_KEPT]
        with history.kept_tidy():
            pass
        assert "2 samples could not be added" in caplog.text
    assert history.keep([entry("d")]) is history_module.NOT_KEPT
    with history.kept_tidy():
        pass
    assert texts(history) == ["a", "b"]


def test_a_text_that_cannot_be_stored_takes_no_other_with_it(history, caplog):
    with closing(sqlite3.connect(history.file, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert history.keep([entry("a")]) is None
    assert history.keep([entry("b", seed=2**63)]) is history_module.NOT_KEPT
    assert history.keep([entry("\ud800")]) is history_module.NOT_KEPT
    assert history.keep([entry("c")]) is None
    assert texts(history) == ["a", "c"]


def test_no_text_is_lost_while_others_read_search_export_and_delete_as_fast_as_they_can(history, clock):
    ours, theirs = (History(history.file, 90, clock) for _ in range(2))
    over = threading.Event()

    def write(own, number):
        return [own.keep([entry(f"<{number}.{step}> " + "word " * 50 * (step % 9))]) for step in range(70)]

    def repeat(work):
        while not over.is_set():
            with suppress(HistoryTrouble):  # they are told to try again, and do
                work()

    others = (
        lambda: (ours.count(Query("zebra")), ours.page(Query("word"), 0, 20), ours.models()),
        lambda: sum(1 for _ in ours.entries(Query("word"))),
        lambda: ours.delete_matching(Query("7> ")),
    )
    with ThreadPoolExecutor(9) as pool, ours.kept_tidy(), theirs.kept_tidy():
        disturbing = [pool.submit(repeat, work) for work in others]
        writing = [pool.submit(write, ours if number else theirs, number) for number in range(6)]
        notes = [note for done in writing for note in done.result()]
        over.set()
        for done in disturbing:
            done.result()
    assert notes == [None] * 420
    kept = {text.partition(" ")[0] for text in texts(history)}
    names = {f"<{number}.{step}>" for number in range(6) for step in range(70)}
    assert {name for name in names if not name.endswith("7>")} <= kept <= names


def test_a_full_disk_costs_no_text_but_its_entries(history, caplog, monkeypatch):
    history.keep([entry("before")])
    connect = sqlite3.connect

    def small_disk(*arguments, **options):
        connection = connect(*arguments, **options)
        connection.execute("PRAGMA max_page_count = 6")
        return connection

    monkeypatch.setattr(sqlite3, "connect", small_disk)
    noise = random.Random(3).randbytes(100_000).hex()
    assert "could not be added" in history.keep([entry("small"), entry(noise)])
    assert "full" in caplog.text
    monkeypatch.undo()
    assert texts(history) == ["before"]


def test_a_file_that_was_taken_away_is_not_made_again_in_secret(history):
    for path in history.file.parent.iterdir():
        path.unlink()
    assert "could not be added" in history.keep([entry()])
    with pytest.raises(HistoryTrouble):
        history.count(Query())
    assert not history.file.exists()


def test_a_file_of_something_else_is_refused_and_left_alone(tmp_path):
    text = tmp_path / "notes.txt"
    text.write_text("not a database, but long enough to be looked at " * 50)
    foreign = tmp_path / "other.sqlite3"
    with closing(sqlite3.connect(foreign)) as other:
        other.execute("CREATE TABLE texts (id INTEGER)")
    newer = tmp_path / "newer.sqlite3"
    History(newer, 1)
    with closing(sqlite3.connect(newer)) as ours:
        ours.execute("PRAGMA user_version = 2")
    before = [path.read_bytes() for path in (text, foreign)]
    for path, words in ((text, "not a database"), (foreign, "another program"), (newer, "newer version")):
        with pytest.raises(UserError, match=words):
            History(path, 90)
    assert [path.read_bytes() for path in (text, foreign)] == before
    with pytest.raises(UserError, match="--history off"):
        History(text / "below.sqlite3", 90)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: os.mkfifo(path), "is a named pipe, not a regular file; choose another with --history-file"),
        (lambda path: path.mkdir(), "is a directory, not a regular file; choose another with --history-file"),
        (
            lambda path: path.symlink_to("/dev/zero"),
            "is a device, not a regular file; choose another with --history-file",
        ),
        (lambda path: path.write_bytes(b"SQLite format 3\0" + bytes(4_080)), "cannot hold the history"),
        (lambda path: path.write_bytes(b"SQLite"), "cannot hold the history"),
    ],
    ids=["pipe", "directory", "device", "empty pages", "a torso"],
)
@pytest.mark.skipif(sys.platform == "win32", reason="files of POSIX")
def test_what_is_not_a_database_is_refused_at_once_in_one_sentence(tmp_path, make, words):
    path = tmp_path / "history.sqlite3"
    make(path)
    with pytest.raises(UserError, match=words) as caught:
        History(path, 90)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_truncated_file_is_refused_in_one_sentence(history, share):
    history.keep([entry(str(number) * 3_000) for number in range(9)])
    content = history.file.read_bytes()
    history.file.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(UserError, match=r"cannot hold the history \(database disk image is malformed\)"):
        History(history.file, 90)


def test_a_file_that_is_damaged_while_it_is_used_is_said_to_be(history):
    history.keep([entry(str(number) * 3_000) for number in range(9)])
    history.file.write_bytes(history.file.read_bytes()[:9_000])
    with pytest.raises(HistoryTrouble, match="is damaged; move it away"):
        history.count(Query())
    assert history.keep([entry()]) is history_module.NOT_KEPT
    assert history.trouble.kind == "damaged"


DAMAGE = {
    "created": ["'noon'", "1e300", "-1", "x'00'"],
    "prompt": ["x'ff00'"],
    "text": ["CAST(x'c3' AS TEXT)"],
    "tokens": ["'many'", "1.5"],
    "settings": ["'{'", "'[1]'", "'null'", "7", "x'7b7d'", "'{\"a\": 1e999}'", f"'{'[' * 100_000}'"],
}


@pytest.mark.parametrize(("column", "value"), [(name, value) for name in DAMAGE for value in DAMAGE[name]])
def test_a_damaged_row_is_shown_as_far_as_it_can_be_read_and_breaks_nothing(history, column, value):
    history.keep([entry("before"), entry("odd"), entry("after")])
    with closing(sqlite3.connect(history.file)) as other, other:
        other.execute(f"UPDATE texts SET {column} = {value} WHERE id = 2")
    kept = {entry.id: entry for entry in History(history.file, 0).page(Query(), 0, 9)}
    assert [kept[number].text for number in (1, 3)] == ["before", "after"]
    assert type(getattr(kept[2], column)) is type(getattr(entry(), column))
    assert kept[2].damaged == (column != "text")
    assert not kept[1].damaged
    assert len(texts(History(history.file, 0), Query("AFTER"))) == 1
    assert history.delete(2) == 1


def test_a_file_of_the_version_with_a_write_ahead_log_keeps_its_texts_and_loses_the_log(history):
    history.keep([entry("a")])
    with closing(sqlite3.connect(history.file)) as old:
        old.execute("PRAGMA journal_mode = WAL").fetchall()
    again = History(history.file, 0)
    again.keep([entry("b")])
    assert texts(again) == ["a", "b"]
    assert history.file.read_bytes()[18:20] == b"\1\1"  # https://www.sqlite.org/fileformat.html: 2 is a log
    assert not list(history.file.parent.glob("*-wal"))


def test_while_an_older_version_has_the_file_open_it_is_used_with_its_log(history):
    history.keep([entry("a")])
    with closing(sqlite3.connect(history.file)) as old:
        old.execute("PRAGMA journal_mode = WAL").fetchall()
        old.execute("SELECT * FROM texts").fetchall()
        again = History(history.file, 0, patience_seconds=0.05)
        again.keep([entry("a secret thing")])
        assert texts(again) == ["a", "a secret thing"]
        assert again.delete(2) == 1
        assert not any(b"a secret thing" in path.read_bytes() for path in history.file.parent.iterdir())


def read_only(monkeypatch):
    """Let every connection open its file as one that may not be written."""
    connect = sqlite3.connect

    def locked_away(address, **options):
        return connect(address.replace("mode=rw", "mode=ro"), **options)

    monkeypatch.setattr(sqlite3, "connect", locked_away)


def test_a_history_that_cannot_be_written_opens_and_shows_what_it_holds(history, clock, monkeypatch):
    history.keep([entry("a"), entry("b")])
    before = history.file.read_bytes()
    read_only(monkeypatch)
    again = History(history.file, 90, clock)
    assert again.trouble.kind == "read-only"
    assert not again.can_delete
    assert texts(again) == ["a", "b"]
    assert again.keep([entry("c")]) is history_module.NOT_KEPT
    with pytest.raises(HistoryTrouble, match="cannot be changed: no file can be made beside it"):
        again.delete_matching(Query())
    assert history.file.read_bytes() == before
    monkeypatch.undo()
    again.check()
    assert again.trouble is None
    assert again.keep([entry("d")]) is None


@pytest.mark.parametrize("is_read_only", [False, True])
def test_a_file_with_a_log_opens_where_the_shared_memory_of_a_log_cannot_be_made(
    history, clock, monkeypatch, is_read_only
):
    history.keep([entry("a")])
    with closing(sqlite3.connect(history.file)) as old:
        old.execute("PRAGMA journal_mode = WAL").fetchall()
    history.file.with_name("history.sqlite3-shm").mkdir()  # in the way
    if is_read_only:
        read_only(monkeypatch)
    again = History(history.file, 90, clock, patience_seconds=0.05)
    assert texts(again) == ["a"]
    assert (again.trouble is not None) == is_read_only
    assert (again.keep([entry("b")]) is None) != is_read_only


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of POSIX")
def test_only_this_user_may_read_it(history):
    history.keep([entry()])
    for path in history.file.parent.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(history.file.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("platform", "variable", "expected"),
    [
        ("linux", "XDG_DATA_HOME", "place/unrolled/history.sqlite3"),
        ("win32", "LOCALAPPDATA", "place/unrolled/history.sqlite3"),
        ("linux", None, "home/.local/share/unrolled/history.sqlite3"),
        ("darwin", None, "home/Library/Application Support/unrolled/history.sqlite3"),
    ],
)
def test_unless_told_otherwise_it_lies_in_the_users_data_folder(tmp_path, monkeypatch, platform, variable, expected):
    monkeypatch.setattr("pathlib.Path.home", lambda: tmp_path / "home")
    monkeypatch.setattr(sys, "platform", platform)
    for name in ("XDG_DATA_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    if variable is not None:
        monkeypatch.setenv(variable, str(tmp_path / "place"))
    assert default_history_file() == tmp_path / expected
