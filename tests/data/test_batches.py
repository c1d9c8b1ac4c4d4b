"""Batches against plain slices of the text."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unrolled.data.batches import RandomWindows, Streams, fit_to_text

IDS = np.arange(50, 250, dtype=np.uint8)  # the id at position p is p + 50


def generator(seed):
    return torch.Generator().manual_seed(seed)


def equal(one, other):
    return (
        torch.equal(one.inputs, other.inputs)
        and torch.equal(one.targets, other.targets)
        and one.starts_fresh == other.starts_fresh
    )


def test_a_window_is_a_slice_of_the_text_and_its_targets_are_one_further_on():
    batch = RandomWindows(IDS, 5, 7, generator(3)).next_batch()
    assert (batch.inputs.dtype, batch.inputs.shape, batch.starts_fresh) == (torch.int64, (5, 7), True)
    for row, target in zip(batch.inputs, batch.targets, strict=True):
        start = int(row[0]) - 50
        assert row.tolist() == IDS[start : start + 7].tolist()
        assert target.tolist() == IDS[start + 1 : start + 8].tolist()


def test_windows_start_at_every_possible_place_about_equally_often():
    windows = RandomWindows(IDS[:14], 1000, 9, generator(3))
    starts = torch.cat([windows.next_batch().inputs[:, 0] - 50 for _ in range(10)])
    counts = torch.bincount(starts)
    assert len(counts) == 14 - 9
    assert counts.min() > 1_800
    assert counts.max() < 2_200


def test_the_shortest_text_for_windows_has_one_token_more_than_the_window():
    batch = RandomWindows(IDS[:8], 3, 7, generator(3)).next_batch()
    assert batch.inputs.tolist() == [IDS[:7].tolist()] * 3
    assert batch.targets.tolist() == [IDS[1:8].tolist()] * 3
    with pytest.raises(ValueError, match="too short"):
        RandomWindows(IDS[:7], 3, 7, generator(3))


def test_windows_go_on_exactly_from_a_saved_position():
    windows = RandomWindows(IDS, 5, 7, generator(3))
    windows.next_batch()
    position = windows.position()
    expected = [windows.next_batch() for _ in range(3)]
    other = RandomWindows(IDS, 5, 7, generator(4))
    other.restore(position)
    assert all(equal(batch, other.next_batch()) for batch in expected)
    assert all(isinstance(value, torch.Tensor) for value in position.values())


@given(tokens=st.integers(2, 120), batch_size=st.integers(1, 9), window=st.integers(1, 13))
def test_streams_read_every_token_but_the_remainder_once_an_epoch(tokens, batch_size, window):
    ids = IDS[:tokens]
    if tokens <= batch_size:
        with pytest.raises(ValueError, match="too short"):
            Streams(ids, batch_size, window)
        return
    streams = Streams(ids, batch_size, window)
    for _ in range(2):
        batches = [streams.next_batch() for _ in range(streams.batches_per_epoch)]
        assert [batch.starts_fresh for batch in batches] == [True] + [False] * (len(batches) - 1)
        assert [batch.inputs.shape[1] for batch in batches[:-1]] == [window] * (len(batches) - 1)
        length = (tokens - 1) // batch_size
        inputs = torch.cat([batch.inputs for batch in batches], dim=1)
        targets = torch.cat([batch.targets for batch in batches], dim=1)
        assert inputs.flatten().tolist() == ids[: batch_size * length].tolist()
        assert targets.flatten().tolist() == ids[1 : batch_size * length + 1].tolist()


def test_streams_go_on_exactly_from_a_saved_position():
    for batches_before in range(1, 9):
        streams = Streams(IDS, 3, 17)
        for _ in range(batches_before):
            streams.next_batch()
        other = Streams(IDS, 3, 17)
        other.restore(streams.position())
        assert all(equal(streams.next_batch(), other.next_batch()) for _ in range(6))


def test_a_position_of_another_text_is_refused():
    with pytest.raises(ValueError, match="outside"):
        Streams(IDS, 3, 17).restore({"next_column": torch.tensor(66)})


@pytest.mark.parametrize(("batch_size", "window"), [(0, 5), (5, 0), (-1, 5)])
def test_sizes_below_one_are_the_callers_mistake(batch_size, window):
    for make in (Streams, lambda *sizes: RandomWindows(*sizes, generator(1))):
        with pytest.raises(ValueError, match="at least 1"):
            make(IDS, batch_size, window)


@given(
    tokens=st.integers(2, 20_000),
    batch_size=st.integers(1, 200),
    window=st.integers(1, 400),
    batching=st.sampled_from(["windows", "streams"]),
)
def test_a_fitted_batch_always_fits_and_is_never_empty(tokens, batch_size, window, batching):
    fitting_batch, fitting_window, note = fit_to_text(tokens, batch_size, window, batching)
    assert 1 <= fitting_batch <= batch_size
    assert 1 <= fitting_window <= window
    assert fitting_batch * fitting_window <= tokens - 1
    assert (note is None) == ((fitting_batch, fitting_window) == (batch_size, window))
    ids = np.zeros(tokens, dtype=np.uint8)
    if batching == "streams":
        batcher = Streams(ids, fitting_batch, fitting_window)
    else:
        batcher = RandomWindows(ids, fitting_batch, fitting_window, generator(1))
    assert batcher.batches_per_epoch >= 1
    assert batcher.next_batch().inputs.shape == (fitting_batch, fitting_window)


def test_the_note_says_what_is_used_instead():
    assert fit_to_text(981, 64, 128, "windows") == (
        7,
        128,
        "The text has 981 tokens; using batch 7 and window 128; expect memorisation.",
    )
    assert fit_to_text(2, 64, 128, "streams")[:2] == (1, 1)
    assert fit_to_text(101, 1, 100, "windows") == (1, 100, None)


def test_an_unknown_batching_and_a_text_of_one_token_are_the_callers_mistake():
    with pytest.raises(ValueError, match="batching"):
        fit_to_text(100, 1, 1, "rows")
    with pytest.raises(ValueError, match="too short"):
        fit_to_text(1, 1, 1, "windows")
