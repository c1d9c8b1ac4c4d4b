"""CSV columns as text, compared with the rows that were written."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.errors import UserError
from unrolled.sources.csv_columns import column_cells, column_text, header_of

cells = st.text(alphabet='a",\n \u2028é')


def column(text, name, notes=None):
    chunks = [text[i : i + 3] for i in range(0, len(text), 3)]
    return "".join(column_text(chunks, name, "posts.csv", [] if notes is None else notes))


@given(rows=st.lists(st.tuples(cells, cells), min_size=1))
def test_a_written_column_comes_back_row_by_row(rows):
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([("title", "body"), *rows])
    assert column(file.getvalue(), "body") == "\n".join(body for _, body in rows)


def test_a_column_is_found_by_index_and_the_header_is_reported():
    notes = []
    assert column("first,second\n1,2\n3,4\n", "1", notes) == "2\n4"
    assert "'second'" in notes[0]


def test_a_name_that_is_a_number_wins_over_the_index():
    notes = []
    assert column("1,0\na,b\n", "0", notes) == "b"
    assert notes == []


def test_rows_without_the_column_are_counted():
    notes = []
    assert column("a,b\n1,2\n3\n\n4,5\n", "b", notes) == "2\n5"
    assert "1 rows of posts.csv are too short" in notes[0]


@pytest.mark.parametrize("name", ["text", "2", "-1", "²", ""])
def test_an_unknown_column_lists_the_columns(name):
    with pytest.raises(UserError, match=r"no column .*: title, body\."):
        column("title,body\n1,2\n", name)


def test_a_duplicate_column_name_requires_the_index():
    with pytest.raises(UserError, match="give the index, 0 or 2"):
        column("a,b,a\n1,2,3\n", "a")


def test_an_empty_file_has_no_header():
    with pytest.raises(UserError, match="a header row"):
        column("", "a")
    assert header_of([], "posts.csv") == []


def test_a_cell_may_be_longer_than_the_default_limit_of_the_csv_module():
    assert column("a\n" + "x" * 200_000 + "\n", "a") == "x" * 200_000


def test_an_empty_cell_of_the_only_column_is_a_blank_line():
    notes: list[str] = []
    text = "".join(column_text(["text\nfirst\n\nsecond\n"], "text", "a.csv", notes))
    assert text == "first\n\nsecond"
    assert notes == []


def test_blank_lines_between_rows_of_several_columns_are_noted():
    notes: list[str] = []
    text = "".join(column_text(["\nname,text\nada,first\n\n\nbob,second\n"], "text", "a.csv", notes))
    assert text == "first\nsecond"
    assert notes == ["2 blank lines between the rows of a.csv are skipped."]


def test_rows_with_more_cells_than_names_are_counted():
    notes = []
    assert column("a,b\n1,well, then\n2,ok\n", "b", notes) == "well\nok"
    assert notes == [
        "1 rows of posts.csv have more cells than the header has names: text that contains a comma must be quoted, or "
        "it ends there."
    ]


@pytest.mark.parametrize("end", ["", "\n", "\n3,4", "\n3,4\n"])
def test_a_quote_that_is_never_closed_names_the_line_where_its_row_begins(end):
    with pytest.raises(UserError, match="the row that begins at line 3 has a quote that is never closed"):
        column(f'a,b\n1,2\n"x\ny","2{end}', "b")


def test_text_around_quotes_is_kept():
    assert column('a,b\n1,"quo"ted\n2,a "b" c\n', "b") == 'quoted\na "b" c'


def test_a_speaker_precedes_each_cell():
    notes = []
    text = "who,said\nSAM,  Mr Frodo!\n , Hm\nROSIE\nPIPPIN and  MERRY,Run\n"
    cells = list(column_cells([text], "said", "a.csv", notes, speaker="who"))
    assert cells == ["SAM: Mr Frodo!", " Hm", "PIPPIN and MERRY: Run"]
    assert notes[-1] == "1 records of a.csv have no 'who'; they get no tag."
    assert list(column_cells([text], "said", "a.csv", [], speaker="0")) == cells
    with pytest.raises(UserError, match="no column 'char'; its columns are: who, said"):
        list(column_cells([text], "said", "a.csv", [], speaker="char"))


def test_a_row_that_ends_before_its_speaker_has_none():
    assert list(column_cells(["said,who\nhi\nho,SAM\n"], "said", "a.csv", [], speaker="who")) == ["hi", "SAM: ho"]
