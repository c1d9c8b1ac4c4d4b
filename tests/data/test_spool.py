"""The spool against the joined text."""

import hashlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unrolled.data import spool as spool_module
from unrolled.data.spool import Spool

texts = st.lists(st.text(alphabet="a\né漢😀\u2028", min_size=1), max_size=8)


@given(chunks=texts, start=st.integers(0, 20), length=st.integers(0, 60))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_part_of_the_text_comes_back_again_and_again(tmp_path, monkeypatch, chunks, start, length):
    monkeypatch.setattr(spool_module, "CHUNK_CHARACTERS", 7)
    text = "".join(chunks)
    with Spool(chunks, tmp_path) as spool:
        assert spool.characters == len(text)
        assert spool.sha256 == hashlib.sha256(text.encode()).hexdigest()
        assert "".join(spool.chunks(start, start + length)) == text[start : start + length]
        assert list(spool.lines()) == [line + "\n" for line in text.split("\n")[:-1]] + list(
            filter(None, [text.split("\n")[-1]])
        )
        assert spool.line_ends == text.count("\n")
        next(spool.chunks(0, 5), None)
        assert "".join(spool.chunks(0, len(text))) == text


def test_no_file_is_left_even_when_the_text_fails_half_way(tmp_path):
    def failing():
        yield "some text"
        raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        Spool(failing(), tmp_path)
    with Spool(["text"], tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []
