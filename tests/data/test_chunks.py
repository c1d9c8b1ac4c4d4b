"""Chunks against the text they are cut from."""

from hypothesis import given
from hypothesis import strategies as st

from unrolled.data.chunks import gathered, whole_lines

chunks_of_text = st.lists(st.text(alphabet="ab\n\r\u2028"))


@given(chunks=chunks_of_text)
def test_whole_lines_are_cut_at_line_ends_only(chunks):
    lines = list(whole_lines(chunks))
    assert "".join(lines) == "".join(chunks)
    assert all(line.endswith("\n") for line in lines[:-1])
    assert all(lines)


@given(chunks=chunks_of_text, characters=st.integers(1, 20))
def test_gathered_chunks_are_the_same_text_and_cut_where_it_was(chunks, characters):
    gathering = list(gathered(chunks, characters))
    assert "".join(gathering) == "".join(chunks)
    assert all(len(chunk) >= characters for chunk in gathering[:-1])
    starts = {len("".join(chunks[:count])) for count in range(len(chunks) + 1)}
    assert {len("".join(gathering[:count])) for count in range(len(gathering) + 1)} <= starts
