"""Decoding in blocks of every size, compared with Python's decoding of the whole."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.errors import UserError
from unrolled.sources import utf8
from unrolled.sources.utf8 import Tally, decoded

awkward = st.text(alphabet="a\r\n é漢😀\ufeff\ufffd\u2028")


class Dripping(io.BytesIO):
    """A pipe that never returns more than a few bytes at a time."""

    def __init__(self, data, most):
        super().__init__(data)
        self.most = most

    def read(self, size=-1):
        return super().read(min(size, self.most))


def read(data, most=10**9, errors="strict"):
    tally = Tally()
    chunks = list(decoded(Dripping(data, most), "a.txt", errors, tally))
    assert all(chunks)
    return "".join(chunks), tally.replaced


def plain_newlines(text):
    return text.replace("\r\n", "\n").replace("\r", "\n")


@given(text=awkward, most=st.integers(1, 7), bom=st.booleans())
def test_blocks_of_any_size_give_the_text_with_plain_newlines(text, most, bom):
    data = (b"\xef\xbb\xbf" if bom else b"") + text.encode("utf-8")
    expected = data.decode("utf-8").removeprefix("\ufeff")
    assert read(data, most) == (plain_newlines(expected), 0)


@given(
    data=st.lists(st.sampled_from([b"a", b"\xef", b"\xbf", b"\xbd", b"\xe2\x82", b"\xff", b"\xef\xbf\xbd", b"\n"])),
    most=st.integers(1, 5),
)
def test_replaced_places_are_counted_and_genuine_marks_are_not(data, most):
    data = b"....." + b"".join(data)
    text, replaced = read(data, most, "replace")
    assert text == data.decode("utf-8", "replace")
    assert replaced == text.count("\ufffd") - data.count("\ufffd".encode())


@pytest.mark.parametrize("most", [1, 3, 10**9])
@pytest.mark.parametrize(("data", "offset"), [(b"caf\xe9 noir", 3), ("éa".encode() + b"\x80", 3), (b"end \xe2\x82", 4)])
def test_an_undecodable_byte_is_named_with_its_offset(data, offset, most):
    with pytest.raises(UserError, match=rf"a\.txt .*offset {offset} .*--encoding-errors replace"):
        read(data, most)


def test_offsets_count_from_the_start_of_the_file_in_later_blocks(monkeypatch):
    monkeypatch.setattr(utf8, "BLOCK_BYTES", 8)
    with pytest.raises(UserError, match="0xff at offset 21 "):
        read("aé漢".encode() * 3 + b"aaa\xffaaaaaaa")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("most", [1, 100])
def test_utf_16_is_refused_with_the_way_to_convert(encoding, most):
    data = ("\ufeff" if encoding == "utf-16-be" else "").encode(encoding) + "text".encode(encoding)
    with pytest.raises(UserError, match="iconv"):
        read(data, most, "replace")


def test_a_binary_file_is_refused():
    with pytest.raises(UserError, match="looks binary"):
        read(b"\x89PNG\r\n\x1a\n\x00\x00", errors="replace")


def test_a_stream_that_fails_is_one_plain_sentence():
    class Failing(io.BytesIO):
        def read(self, size=-1):
            raise OSError(5, "Input/output error")

    with pytest.raises(UserError, match=r"a\.txt cannot be read: Input/output error"):
        list(decoded(Failing(), "a.txt", "strict", Tally()))


def test_an_empty_stream_gives_nothing():
    assert list(decoded(io.BytesIO(b""), "a.txt", "strict", Tally())) == []
    assert list(decoded(io.BytesIO(b"\xef\xbb\xbf"), "a.txt", "strict", Tally())) == []
