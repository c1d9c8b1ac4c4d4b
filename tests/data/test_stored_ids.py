"""Ids that are read from a file equal those in memory, and a file that is cut short is a sentence."""

import gc
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unrolled.data import RandomWindows, Streams
from unrolled.data.stored_ids import StoredIds
from unrolled.errors import UserError

N = 1_003


@pytest.fixture(scope="module", params=["<u1", "<u2", "<u4"])
def pair(request, tmp_path_factory):
    ids = np.random.default_rng(1).integers(0, 250, N).astype(request.param)
    path = tmp_path_factory.mktemp("ids") / "train.bin"
    path.write_bytes(ids.tobytes())
    return StoredIds(path.open("rb", buffering=0), ids.dtype, "train.bin"), ids


def test_length_type_and_content_are_those_of_the_file(pair):
    stored, ids = pair
    assert (len(stored), stored.shape, stored.dtype) == (N, (N,), ids.dtype)
    assert np.array_equal(stored, ids)
    assert np.asarray(stored).dtype == ids.dtype
    assert np.asarray(stored, dtype=np.int64).dtype == np.int64


@given(start=st.none() | st.integers(-2 * N, 2 * N), stop=st.none() | st.integers(-2 * N, 2 * N))
def test_every_slice_is_that_of_an_array(pair, start, stop):
    stored, ids = pair
    assert np.array_equal(stored[start:stop], ids[start:stop])


def test_other_indices_are_a_mistake(pair):
    for index in (3, slice(0, 10, 2), np.arange(3)):
        with pytest.raises(TypeError):
            pair[0][index]


@pytest.mark.parametrize("batch", [1, 5])
def test_batches_are_those_of_ids_in_memory(pair, batch):
    for make in (
        lambda ids: RandomWindows(ids, batch, 7, torch.Generator().manual_seed(3)),
        lambda ids: Streams(ids, batch, 30),
    ):
        stored, in_memory = map(make, pair)
        assert stored.batches_per_epoch == in_memory.batches_per_epoch
        for _ in range(40):
            mine, other = stored.next_batch(), in_memory.next_batch()
            assert torch.equal(mine.inputs, other.inputs)
            assert torch.equal(mine.targets, other.targets)
            assert mine.starts_fresh == other.starts_fresh


def test_a_file_that_is_cut_short_while_it_is_in_use_is_a_sentence_with_the_way_out(tmp_path):
    path = tmp_path / "train.bin"
    path.write_bytes(bytes(N))
    stored = StoredIds(path.open("rb", buffering=0), np.dtype("<u1"), "train.bin")
    os.truncate(path, 500)
    assert len(stored[:500]) == 500
    for use in (lambda: stored[499:501], lambda: np.asarray(stored), lambda: stored.windows(np.array([600]), 3)):
        with pytest.raises(UserError, match=r"train\.bin has become shorter .*--resume"):
            use()


def test_the_file_is_closed_together_with_the_ids(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    file = (tmp_path / "x").open("rb", buffering=0)
    stored = StoredIds(file, np.dtype("<u1"), "x")
    assert not file.closed
    del stored
    gc.collect()
    assert file.closed


TRAIN = """
import os, sys
from pathlib import Path
from unrolled.cli.main import main
from unrolled.data.batches import RandomWindows

next_batch = RandomWindows.next_batch
def after_it_was_cut_short(self):
    for file in Path(os.environ["UNROLLED_CACHE"]).rglob("train.bin"):
        os.truncate(file, 0)
    return next_batch(self)

if sys.argv[1] == "cut":
    RandomWindows.next_batch = after_it_was_cut_short
sys.argv = ["unrolled", *sys.argv[2:]]
main()
"""


def test_a_training_whose_cached_text_is_cut_short_stops_with_a_sentence_and_can_be_resumed(tmp_path, story):
    small = ["model.hidden_size=8", "model.embedding_size=4", "training.threads=1", "training.preview_tokens=0"]
    settings = [part for setting in [*small, "training.batching=windows"] for part in ("--set", setting)]
    first = ["train", story, "--out", tmp_path / "run", "--steps", "3", "--quiet", *settings]

    def run(how, *arguments):
        command = [sys.executable, "-c", TRAIN, how, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)

    stopped = run("cut", *first)
    assert stopped.returncode == 2, stopped
    assert "train.bin has become shorter" in stopped.stderr
    assert stopped.stderr.count("\n") == 1
    assert run("whole", "train", "--resume", tmp_path / "run", "--quiet").returncode == 0
