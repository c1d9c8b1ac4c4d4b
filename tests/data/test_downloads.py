"""Fetching example texts, with a network that answers, lies, breaks off or is not there."""

import http.client
import io
import os
import sys
import urllib.error
from dataclasses import replace
from hashlib import sha256
from types import SimpleNamespace

import pytest

from unrolled.data import downloads
from unrolled.data.downloads import EXAMPLES, fetch
from unrolled.errors import UserError

TEXT = b"To be, or not to be.\n"
BY_NAME = {example.name: example for example in EXAMPLES}
SHAKESPEARE = replace(BY_NAME["tiny-shakespeare"], sha256=sha256(TEXT).hexdigest(), bytes=len(TEXT))
KAGGLE = BY_NAME["lord-of-the-rings"]


@pytest.fixture
def network(monkeypatch):
    """Let every address answer with these bytes, or raise."""

    def give(answer):
        def urlopen(url, timeout):
            assert url.startswith("https://")
            assert timeout > 0
            if isinstance(answer, Exception):
                raise answer
            return io.BytesIO(answer)

        monkeypatch.setattr(downloads.urllib.request, "urlopen", urlopen)

    return give


def test_a_text_is_fetched_once_and_then_left_as_it_is(network, tmp_path):
    network(TEXT)
    path = fetch(SHAKESPEARE, tmp_path / "new" / "data")
    assert path.read_bytes() == TEXT
    network(AssertionError("no second time"))
    assert fetch(SHAKESPEARE, tmp_path / "new" / "data") == path
    path.write_bytes(b"mine")
    with pytest.raises(UserError, match="is another text than tiny-shakespeare"):
        fetch(SHAKESPEARE, tmp_path / "new" / "data")
    assert path.read_bytes() == b"mine"


@pytest.mark.parametrize("answer", [TEXT[:-1] + b"?", TEXT[:-1], TEXT + b"more", b"", b"x" * 10_000])
def test_another_text_than_the_known_one_is_refused_and_nothing_is_kept(network, tmp_path, answer):
    network(answer)
    with pytest.raises(UserError, match="no longer holds the text"):
        fetch(SHAKESPEARE, tmp_path)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "problem",
    [
        urllib.error.URLError("Name or service not known"),
        urllib.error.HTTPError("https://x", 404, "Not Found", {}, None),
        TimeoutError("timed out"),
        ConnectionResetError("reset"),
        http.client.IncompleteRead(b"half"),
    ],
)
def test_without_a_network_the_manual_steps_are_given(network, tmp_path, problem):
    network(problem)
    with pytest.raises(
        UserError, match=r"could not be fetched .*By hand: open https://.*save it as tiny-shakespeare.txt"
    ):
        fetch(SHAKESPEARE, tmp_path)
    assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_a_plain_sentence(network, tmp_path):
    network(TEXT)
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="could not be written"):
        fetch(SHAKESPEARE, tmp_path / "file")


def test_kaggle_needs_its_package_and_says_how_to_do_without(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(UserError, match=r"pip install 'unrolled\[data\]'.*By hand: .*download lotr_scripts.csv"):
        fetch(KAGGLE, tmp_path)
    assert os.listdir(tmp_path) == []


def test_a_kaggle_data_set_becomes_one_file(monkeypatch, tmp_path):
    (tmp_path / "kaggle" / "v1").mkdir(parents=True)
    (tmp_path / "kaggle" / "v1" / "lotr_scripts.csv").write_bytes(b"char,dialog\n")
    hub = SimpleNamespace(dataset_download=lambda handle: str(tmp_path / "kaggle"))
    monkeypatch.setitem(sys.modules, "kagglehub", hub)
    assert fetch(KAGGLE, tmp_path / "data").read_bytes() == b"char,dialog\n"
    (tmp_path / "kaggle" / "v1" / "lotr_scripts.csv").rename(tmp_path / "kaggle" / "other.csv")
    with pytest.raises(UserError, match=r"holds no lotr_scripts.csv any more; it holds other.csv"):
        fetch(KAGGLE, tmp_path / "data2")


def test_whatever_kagglehub_raises_is_a_plain_sentence(monkeypatch, tmp_path):
    def refuse(handle):
        raise RuntimeError("403: consent needed")

    monkeypatch.setitem(sys.modules, "kagglehub", SimpleNamespace(dataset_download=refuse))
    with pytest.raises(UserError, match=r"from Kaggle \(RuntimeError\).*By hand"):
        fetch(KAGGLE, tmp_path)


def test_every_example_is_fetched_over_https_and_a_plain_file_has_its_checksum():
    for example in EXAMPLES:
        assert example.url.startswith("https://")
        assert example.kaggle or (len(example.sha256) == 64 and example.bytes > 0)
        assert example.source.startswith(example.file)
