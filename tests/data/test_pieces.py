"""Pieces against the text they are cut from."""

from hypothesis import given
from hypothesis import strategies as st

from unrolled.data.pieces import gathered, whole_lines

pieces_of_text = st.lists(st.text(alphabet="ab\n\r\u2028"))


@given(pieces=pieces_of_text)
def test_whole_lines_are_cut_at_line_ends_only(pieces):
    lines = list(whole_lines(pieces))
    assert "".join(lines) == "".join(pieces)
    assert all(line.endswith("\n") for line in lines[:-1])
    assert all(lines)


@given(pieces=pieces_of_text, characters=st.integers(1, 20))
def test_gathered_pieces_are_the_same_text_and_cut_where_it_was(pieces, characters):
    gathering = list(gathered(pieces, characters))
    assert "".join(gathering) == "".join(pieces)
    assert all(len(piece) >= characters for piece in gathering[:-1])
    starts = {len("".join(pieces[:count])) for count in range(len(pieces) + 1)}
    assert {len("".join(gathering[:count])) for count in range(len(gathering) + 1)} <= starts
