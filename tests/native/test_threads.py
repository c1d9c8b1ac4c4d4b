"""Work in parts: everything is done once, however many threads there are, and no error is lost."""

import threading
from types import SimpleNamespace

import pytest
import torch

from unrolled.native import threads
from unrolled.native.threads import parts_of, run_parts, threads_worth, torchs_openmp

COUNTS = [0, 1, 5, 64]


@pytest.fixture(params=[1, 2, 3, 8])
def team(request, monkeypatch):
    """So many threads."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: request.param)
    return request.param


@pytest.fixture(params=["torchs", "own"])
def either_way(request, monkeypatch):
    """In the threads of PyTorch's OpenMP, and in our own where it brought none."""
    if request.param == "own":
        monkeypatch.setattr(threads, "torchs_openmp", lambda: None)
    elif torchs_openmp() is None:
        pytest.skip("this PyTorch brought no OpenMP runtime with the interface of GNU's")


@pytest.mark.usefixtures("either_way")
@pytest.mark.usefixtures("team")
@pytest.mark.parametrize("count", COUNTS)
def test_every_thing_is_done_once(count):
    seen = []
    run_parts(parts_of(count), lambda first, last: seen.extend(range(first, last)))
    assert sorted(seen) == list(range(count))


@pytest.mark.parametrize("least", [1, 2, 8, 100])
@pytest.mark.parametrize("count", COUNTS)
def test_parts_cover_everything_once_and_have_the_least_size_where_there_is_enough(team, count, least):
    parts = parts_of(count, least)
    assert [thing for first, last in parts for thing in range(first, last)] == list(range(count))
    assert len(parts) == (0 if count == 0 else max(1, min(team, count // least)))
    assert all(last - first >= min(least, count) for first, last in parts)


def test_things_too_small_for_a_thread_stay_together_and_large_ones_do_not(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    enough = threads.WORTH_A_THREAD
    assert [threads_worth(8, work) for work in (0, 1, enough // 4, 2 * enough)] == [1, 1, 1, 4]
    assert [threads_worth(count, 2 * enough) for count in (0, 1, 3, 1000)] == [1, 1, 3, 4]


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("failing", [0, 1, 2])
def test_an_error_in_any_part_reaches_the_caller(failing):
    def run(first, last):
        if first == failing:
            raise MemoryError(f"no room in {first}")

    with pytest.raises(MemoryError, match=f"no room in {failing}"):
        run_parts([(0, 1), (1, 2), (2, 3)], run)


@pytest.mark.usefixtures("either_way")
def test_the_threads_work_on_after_an_error():
    with pytest.raises(ZeroDivisionError):
        run_parts([(0, 1), (1, 2)], lambda first, last: 1 / first)
    seen = []
    run_parts([(0, 1), (1, 2)], lambda first, last: seen.append(first))
    assert sorted(seen) == [0, 1]


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("failing", [0, 1])
def test_an_error_is_raised_once_no_part_is_running(failing):
    other_may_end, seen = threading.Event(), []

    def run(first, last):
        if first == failing:
            threading.Timer(0.05, other_may_end.set).start()
            raise MemoryError("no room")
        seen.append(other_may_end.wait(60))

    with pytest.raises(MemoryError):
        run_parts([(0, 1), (1, 2), (2, 3)], run)
    assert seen == [True, True]


@pytest.mark.parametrize("size", [1, 2])
def test_a_team_smaller_than_requested_does_all_parts(size, monkeypatch):
    numbers = iter(range(size))
    smaller = SimpleNamespace(omp_get_num_threads=lambda: size, omp_get_thread_num=lambda: next(numbers))
    smaller.GOMP_parallel = lambda member, data, asked, flags: [member(data) for _ in range(size)]
    monkeypatch.setattr(threads, "torchs_openmp", lambda: smaller)
    seen = []
    run_parts([(0, 1), (1, 2), (2, 3), (3, 5), (5, 6)], lambda first, last: seen.extend(range(first, last)))
    assert sorted(seen) == list(range(6))


@pytest.mark.usefixtures("either_way")
def test_parts_are_at_work_at_the_same_time():
    meeting = threading.Barrier(2, timeout=60)
    run_parts([(0, 1), (1, 2)], lambda first, last: meeting.wait())
    assert not meeting.broken
