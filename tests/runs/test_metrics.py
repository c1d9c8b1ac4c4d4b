"""`metrics.jsonl` is strict JSON, survives a crash in the middle of a line, and can be cut back."""

import json
import math
import os

import pytest

from unrolled.errors import UserError
from unrolled.runs import append_metrics, keep_metrics_up_to, read_metrics


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
