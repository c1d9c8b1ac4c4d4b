"""A small file takes little memory, whatever it says about itself."""

import pickle

import pytest
import torch

from tests.importers.confined import confined
from tests.importers.elsewhere import Stacked, save_model, word_layout
from tests.importers.hostile import Call, archive

MUCH_BYTES = 200 * 2**20


def two_cases(folder):
    """Two pickles whose names differ in their case: PyTorch opens the first one, others the second."""
    large = pickle.dumps({"x": Call(bytearray, 600_000_000)}, 2)
    return archive(folder / "model.pt", pickle.dumps({"epoch": 3}, 2), before=[("DATA.PKL", large)])


def shared_numbers(folder):
    """A thousand transposed views of one megabyte, each of which must be copied to be used."""
    one = torch.randn(256, 1024).t()
    state = {name: tensor for name, tensor in word_layout(Stacked()).items() if "bias_" not in name}
    layers = {f"lstm.weight_ih_l{k}": one for k in range(450)} | {f"lstm.weight_hh_l{k}": one for k in range(450)}
    return save_model(folder, {**state, **layers})


def shared_halves(folder):
    """Matrices of half precision that overlap: each becomes two megabytes of float32."""
    one = torch.randn(1500 + 512 * 1024).half()
    return save_model(
        folder, {**word_layout(Stacked()), **{f"x{k}": one[k:][: 2**19].view(512, 1024) for k in range(1500)}}
    )


def small_layers_over_a_large_one(folder):
    """Sixty layers of one unit, each padded to the size of the first one: 6 MB become 700 MB."""
    return save_model(folder, word_layout(Stacked(11, 3, (600, *[1] * 60))))


def a_long_vocabulary(folder):
    """Three million words of one number each, and a placeholder for each of them."""
    state = word_layout(Stacked(11, 1, (1,)))
    column = torch.zeros(3_000_000, 1).half()
    return save_model(folder, {**state, "embedding.weight": column, "fc.weight": column + 1, "fc.bias": column[:, 0]})


def lists_in_json(folder):
    """Twenty megabytes that become seven million lists."""
    (folder / "vocab.json").write_bytes(b"[" + b"[]," * 7_000_000 + b"[]]")
    return folder / "vocab.json"


def lists_in_a_pickle(folder):
    """Lists of a byte each."""
    (folder / "vocab.pkl").write_bytes(b"\x80\x02(" + b"]" * 60_000_000 + b"l.")
    return folder / "vocab.pkl"


FILES = {
    "two pickles in two cases": (two_cases, "checkpoint", "DATA.PKL"),
    "a thousand views of the same numbers": (shared_numbers, "import", "share their numbers"),
    "overlapping halves": (shared_halves, "import", "share their numbers"),
    "small layers over a large one": (small_layers_over_a_large_one, "import", "padded with zeros"),
    "a vocabulary of three million": (a_long_vocabulary, "import", "3,000,000 entries"),
    "lists in JSON": (lists_in_json, "vocabulary", "4,000,000 entries"),
    "lists in a pickle": (lists_in_a_pickle, "vocabulary", "500,000 lists"),
}


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    """What became of every file, and how long each is."""
    paths = {name: make(tmp_path_factory.mktemp("from")) for name, (make, _, _) in FILES.items()}
    found = confined({name: (FILES[name][1], path) for name, path in paths.items()})
    return {name: (found[name], path.stat().st_size) for name, path in paths.items()}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_would_take_much_memory_is_refused(read, name):
    found, size_bytes = read[name]
    assert FILES[name][2] in found.said
    assert found.taken_bytes < MUCH_BYTES + 4 * size_bytes
