"""`metrics.jsonl` is strict JSON, survives a crash in the middle of a line, and can be cut back."""

import json
import math
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unrolled import load
from unrolled.errors import UserError
from unrolled.runs import append_metrics, check_metrics, draw_loss, keep_metrics_up_to, metrics, read_metrics
from unrolled.training import Note, resume

NUMBERS = [*metrics.LARGEST]
SOUND = {"step": 5, "valid_loss_nats": 0.5, "train_loss_nats": None, "seconds": 3}
DAMAGED = {
    "deep nesting": b"[" * 100_000,
    "deep nesting in an object": b'{"step": 5, "more": ' + b"[" * 1_000 + b"]" * 1_000 + b"}",
    "a long line": b'{"step": 5, "more": "' + b"x" * 100_000 + b'"}',
    "a list": b"[5]",
    "no step": b'{"valid_loss_nats": 0.5}',
    "bytes that are not UTF-8": b'{"step": 5, "more": "\xff"}',
    "zeros": bytes(100),
    **{
        f"a step of {step}": b'{"step": %s}' % step for step in (b"-1", b"5.0", b"true", b"null", b'"5"', b"{}", b"1e3")
    },
    **{f"a step of 10^{digits}": b'{"step": 1' + b"0" * digits + b"}" for digits in (13, 400, 5_000)},
    **{
        f"{number} of {value}": json.dumps({"step": 5, number: None}).replace("null", value).encode()
        for number in NUMBERS
        for value in ('"text"', "{}", "[1]", "true", "NaN", "-Infinity", "1e999", "1" + "0" * 400, "1" + "0" * 5_000)
    },
    **{f"{number} of 1e308": json.dumps({"step": 5, number: 1e308}).encode() for number in NUMBERS[:3]},
}
FUZZ = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def test_lines_come_back_in_order(tmp_path):
    path = tmp_path / "metrics.jsonl"
    for step in (5, 10):
        append_metrics(path, {"step": step, "valid_loss_nats": 1 / step})
    assert read_metrics(path) == [{"step": 5, "valid_loss_nats": 0.2}, {"step": 10, "valid_loss_nats": 0.1}]


def test_numbers_that_json_cannot_hold_become_null(tmp_path):
    path = tmp_path / "metrics.jsonl"
    append_metrics(path, {"step": 1, "a": math.nan, "b": math.inf, "c": -math.inf, "d": 0.5})

    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    assert json.loads(path.read_text(), parse_constant=refuse) == {"step": 1, "a": None, "b": None, "c": None, "d": 0.5}


def test_a_line_cut_off_by_a_crash_is_left_out_and_cleared_away(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 5}\n{"step": 10}\n{"step": 15, "valid_lo')
    assert [entry["step"] for entry in read_metrics(path)] == [5, 10]
    keep_metrics_up_to(path, 12)
    assert path.read_text() == '{"step": 5}\n{"step": 10}\n'


def test_lines_after_a_step_are_dropped_and_damaged_ones_are_ignored(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'\xff\xfe\n[1]\n{"step": "5"}\n{"step": 5}\n{"step": 10}\n')
    keep_metrics_up_to(path, 9)
    assert read_metrics(path) == [{"step": 5}]


def test_no_file_is_no_metrics(tmp_path):
    assert read_metrics(tmp_path / "metrics.jsonl") == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux's /dev/full")
def test_a_full_disk_is_a_plain_sentence(tmp_path):
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(UserError, match="disk is full"):
        append_metrics(tmp_path / "metrics.jsonl", {"step": 1})


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_line_is_left_out_and_counted_and_the_lines_around_it_stay(tmp_path, name):
    path = tmp_path / "metrics.jsonl"
    sound = json.dumps(SOUND).encode()
    path.write_bytes(b"\n".join([sound, DAMAGED[name], b"", DAMAGED[name], sound.replace(b"5,", b"10,", 1), b""]))
    found = check_metrics(path)
    assert found.entries == [SOUND, {**SOUND, "step": 10}]
    assert found.notes == ["metrics.jsonl: 2 lines left out because of damage."]
    assert keep_metrics_up_to(path, 7) == found.notes
    assert [json.loads(line) for line in path.read_text().splitlines()] == [SOUND]
    assert check_metrics(path).notes == []


def test_what_is_not_known_here_is_ignored(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(json.dumps({**SOUND, "note": "x", "rate": [1]}) + "\r\n")
    assert check_metrics(path) == metrics.Metrics([SOUND])


@pytest.mark.parametrize("name", DAMAGED)
def test_info_and_a_resumed_training_say_how_many_lines_were_left_out(run, trained_once, monkeypatch, cli, name):
    monkeypatch.setenv("UNROLLED_CACHE", str(trained_once.parent / "cache"))
    before = load(run).info()
    with (run / "metrics.jsonl").open("ab") as file:
        file.write(DAMAGED[name])
    note = "metrics.jsonl: 1 line left out because of damage."
    assert load(run).info() == {**before, "notes": [note]}
    if name not in [*DAMAGED][:3] + [*DAMAGED][-3:]:
        return  # the others differ in nothing that comes after
    assert note in cli("info", run).out
    told = []
    finished = resume(run, steps=25, listener=told.append)
    assert [event.text for event in told if isinstance(event, Note) and "metrics" in event.text] == [note]
    assert finished.step == 25
    assert load(run).info()["notes"] == []


def test_a_best_step_whose_line_was_lost_or_has_no_numbers_ends_in_a_card_and_a_table(
    run, trained_once, monkeypatch, cli
):
    monkeypatch.setenv("UNROLLED_CACHE", str(trained_once.parent / "cache"))
    step = load(run).best.step
    for lines in ("", json.dumps({"step": step}), json.dumps({"step": step, "valid_loss_nats": 2.0})):
        (run / "metrics.jsonl").write_text(lines + "\n")
        done = cli("train", "--resume", run, "--steps", 24)
        assert (done.status, "Traceback" in done.err) == (0, False)
        assert cli("train", "--resume", run, "--steps", 24, "--json").status == 0
        assert (run / "README.md").read_text("utf-8").startswith("# fox")


def test_the_largest_numbers_that_are_read_can_be_drawn(tmp_path):
    largest = {key: min(value, 1e300) for key, value in metrics.LARGEST.items()}
    lines = [{"step": 0, **largest}, {"step": metrics.LATEST_STEP, **{key: -value for key, value in largest.items()}}]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert read_metrics(tmp_path / "m.jsonl") == lines
    draw_loss(tmp_path / "loss.png", lines, "fox: loss")


def test_a_huge_file_is_read_up_to_a_bound_and_kept_aside(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 5}\n{"step": 10}\n')
    os.truncate(path, 20 * 2**30)  # takes no room on the disk
    found = check_metrics(path)
    assert (found.entries, found.left_out, found.is_cut) == ([{"step": 5}, {"step": 10}], 1, True)
    notes = keep_metrics_up_to(path, 7)
    assert notes[-1] == "The whole file is kept as metrics-whole.jsonl."
    assert path.read_text() == '{"step": 5}\n'
    assert (tmp_path / "metrics-whole.jsonl").stat().st_size == 20 * 2**30


def test_more_lines_than_any_training_writes_are_not_held(tmp_path, monkeypatch):
    monkeypatch.setattr(metrics, "MOST_LINES", 3)
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(f'{{"step": {step}}}\n' for step in range(3)))
    assert check_metrics(path) == metrics.Metrics([{"step": 0}, {"step": 1}, {"step": 2}])
    with path.open("a") as file:
        file.write('{"step": 3}\n')
    assert check_metrics(path).is_cut
    assert "only its first 3 lines" in check_metrics(path).notes[0]


@pytest.mark.skipif(os.name != "posix", reason="special files of POSIX systems")
def test_nothing_waits_for_a_pipe_in_place_of_the_file(tmp_path):
    os.mkfifo(tmp_path / "metrics.jsonl")
    for use in (read_metrics, lambda path: append_metrics(path, {"step": 1}), lambda path: keep_metrics_up_to(path, 5)):
        with pytest.raises(UserError, match=r"metrics\.jsonl"):
            use(tmp_path / "metrics.jsonl")


NUMBER_TEXTS = st.one_of(
    st.integers().map(str), st.floats().map(json.dumps), st.sampled_from(["null", "true", '"5"', "{}", "1e999"])
)
LINES = st.one_of(
    st.binary(max_size=40),
    st.tuples(st.sampled_from(["step", *NUMBERS]), NUMBER_TEXTS, NUMBER_TEXTS).map(
        lambda parts: f'{{"step": {parts[2]}, "{parts[0]}": {parts[1]}}}'.encode()
    ),
)


@FUZZ
@given(lines=st.lists(LINES, max_size=6))
def test_any_file_is_read_and_all_that_comes_of_it_is_sound(tmp_path, lines):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b"\n".join(lines))
    found = check_metrics(path)
    assert len(found.entries) + found.left_out <= sum(bool(part) for line in lines for part in line.split(b"\n"))
    for entry in found.entries:
        assert type(entry["step"]) is int
        assert all(value is None or math.isfinite(value) for value in entry.values())
    keep_metrics_up_to(path, metrics.LATEST_STEP)
    assert check_metrics(path) == metrics.Metrics(found.entries)
