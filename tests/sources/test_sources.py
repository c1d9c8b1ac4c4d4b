"""Sources as users specify them: what is read, in which order, and the messages if it cannot be."""

import io
import os

import pytest

from unrolled.errors import UserError
from unrolled.sources.sources import read_records, read_sources


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def text_of(*specs, **options):
    return "".join(read_sources(specs, **options))


def refusal(*specs, **options):
    with pytest.raises(UserError) as problem:
        text_of(*specs, **options)
    return str(problem.value)


def test_several_files_are_joined_by_exactly_one_newline(here):
    (here / "a.txt").write_text("one")
    (here / "b.txt").write_text("two\n")
    (here / "c.txt").write_bytes(b"\xef\xbb\xbfthree\r\n\r\n")
    source = read_sources(["a.txt", "b.txt", "c.txt", "a.txt"])
    assert "".join(source) == "one\ntwo\nthree\n\none"
    assert (source.report.files, source.report.characters, source.report.notes) == (4, 18, ())


def test_a_newline_between_sources_is_found_across_pieces(here):
    (here / "a.txt").write_text("one\r")
    assert text_of("a.txt", "a.txt") == "one\none\n"


def test_a_folder_gives_its_text_files_by_path_and_notes_the_others(here):
    for name in ("b.txt", "a/z.TXT", "a/.hidden.txt", ".git/x.txt", "c/d/e.txt", "notes.md", "a/pic.png", "README"):
        (here / "books" / name).parent.mkdir(parents=True, exist_ok=True)
        (here / "books" / name).write_text(name)
    source = read_sources(["books"])
    assert "".join(source) == "a/z.TXT\nb.txt\nc/d/e.txt"
    (note,) = source.report.notes
    for left_out in ("1 .md", "1 .png", "1 no extension"):
        assert left_out in note


def test_links_that_go_in_circles_are_read_once(here):
    (here / "books").mkdir()
    (here / "books" / "a.txt").write_text("once")
    os.symlink(here / "books", here / "books" / "again", target_is_directory=True)
    assert text_of("books") == "once"


def test_an_empty_file_in_a_folder_is_a_note_and_alone_an_error(here):
    (here / "books").mkdir()
    (here / "books" / "empty.txt").touch()
    assert "held no text" in refusal("books")
    (here / "books" / "full.txt").write_text("x")
    source = read_sources(["books"])
    assert "".join(source) == "x"
    assert "empty.txt is empty" in source.report.notes[0]
    assert "empty.txt is empty" in refusal("books/full.txt", "books/empty.txt")


def test_a_folder_without_text_files_says_what_it_holds(here):
    (here / "books").mkdir()
    assert "has no .txt files" in refusal("books")
    (here / "books" / "a.pdf").touch()
    assert "only 1 .pdf" in refusal("books")


def test_standard_input_is_read_and_left_open():
    stdin = io.BytesIO("é\r\n".encode())
    assert text_of("-", stdin=stdin) == "é\n"
    assert not stdin.closed
    assert "standard input is empty" in refusal("-", stdin=io.BytesIO())
    assert "only once" in refusal("-", "-", stdin=stdin)


def test_a_csv_column_is_one_source_among_others(here):
    (here / "posts.csv").write_text('id,body\n1,"one, two"\n2,three\n')
    (here / "a.txt").write_text("four")
    assert text_of("posts.csv:body", "a.txt") == "one, two\nthree\nfour"
    assert "its columns are: id, body" in refusal("posts.csv:text")


def test_a_csv_file_without_a_column_lists_the_columns(here):
    (here / "posts.csv").write_text("id,body\n1,2\n")
    assert "posts.csv:id (columns: id, body)" in refusal("posts.csv")


def test_a_path_that_exists_wins_over_the_column(here):
    (here / "posts.csv").write_text("body\nfrom the column\n")
    assert text_of("posts.csv:body") == "from the column"
    (here / "posts.csv:body").write_text("from the file")
    assert text_of("posts.csv:body") == "from the file"


def test_a_column_name_may_hold_a_colon(here):
    (here / "posts.csv").write_text("a:b\nx\n")
    assert text_of("posts.csv:a:b") == "x"


def test_the_stories_of_the_package_are_joined_by_one_blank_line(here):
    source = read_sources(["builtin:stories"])
    text = "".join(source)
    assert source.report.files >= 10
    assert source.report.characters == len(text)
    assert "\n\n\n" not in text
    assert "\r" not in text
    assert "known: stories" in refusal("builtin:storys")


def test_stories_that_end_in_a_blank_line_or_none_are_joined_alike(here, monkeypatch):
    monkeypatch.setattr("unrolled.sources.sources.resources.files", lambda package: here)
    (here / "stories").mkdir()
    for name, text in (("a", "one"), ("b", "two\n"), ("c", "three\n\n"), ("d", "four")):
        (here / "stories" / f"{name}.txt").write_text(text)
    assert text_of("builtin:stories") == "one\n\ntwo\n\nthree\n\nfour"


def test_a_missing_file_suggests_the_closest_names(here):
    (here / "books").mkdir()
    (here / "books" / "stories.txt").touch()
    assert "did you mean books/stories.txt?" in refusal("books/storis.txt")
    assert "the folder bokks does not exist" in refusal("bokks/stories.txt")
    assert "There is no file or folder qqq" in refusal("qqq")
    assert "There is no file or folder posts.csv;" in refusal("posts.csv:body")


def test_undecodable_bytes_are_refused_or_replaced_and_counted(here):
    (here / "latin.txt").write_bytes("\ufffdcafé\n".encode("latin-1", "replace") + b"\xe9\xe8")
    assert "latin.txt is not UTF-8: byte 0xe9 at offset 4" in refusal("latin.txt")
    source = read_sources(["latin.txt"], "replace")
    assert "".join(source) == "?caf\ufffd\n\ufffd\ufffd"
    assert source.report.replaced == 3
    assert "3 places" in source.report.notes[0]


def test_no_source_and_an_unknown_policy_are_refused():
    assert "No text was given" in refusal()
    with pytest.raises(ValueError, match="encoding_errors"):
        read_sources(["-"], "ignore")


def test_sources_are_found_before_anything_is_read(here):
    with pytest.raises(UserError, match="no file or folder"):
        read_sources(["-", "missing.txt"], stdin=None)


def records_of(*specs, **options):
    source = read_records(specs, **options)
    return list(source), source.report.notes


def test_records_are_cells_fields_or_lines_each_ended_by_a_newline(here):
    (here / "posts.csv").write_text('id,body\n1,"one\ntwo"\n2, three \n')
    (here / "posts.jsonl").write_text('{"body": "four\\nfive"}\n{"body": "six\u2028seven"}\n')
    (here / "posts.NDJSON").write_text('{"body": "eight"}')
    (here / "lines.txt").write_text("nine \r\nten")
    records, notes = records_of("posts.csv:body", "posts.jsonl:body", "posts.NDJSON:body", "lines.txt")
    assert records == [
        *("one two\n", "three\n", "four five\n", "six\u2028seven\n", "eight\n", "nine\n", "ten\n"),
    ]
    assert notes == ()


def test_records_without_text_are_skipped_and_counted(here):
    (here / "posts.csv").write_text('id,body\n1,one\n2,\n3,"  \n"\n')
    (here / "lines.txt").write_text("\n\none\n \ntwo\n")
    assert records_of("posts.csv:body", "lines.txt") == (
        ["one\n", "one\n", "two\n"],
        ("2 records without text of posts.csv are skipped.", "3 blank lines of lines.txt are skipped."),
    )
    (here / "blank.csv").write_text("id,body\n1,\n")
    with pytest.raises(UserError, match=r"blank\.csv has no record with text"):
        records_of("blank.csv:body")


def test_a_folder_without_a_single_record_is_refused(here):
    (here / "books").mkdir()
    (here / "books" / "a.txt").write_text(" \n")
    with pytest.raises(UserError, match="held no text at all"):
        records_of("books")


def test_a_speaker_precedes_both_records_and_text(here):
    (here / "posts.csv").write_text("who,body\nSAM,one\nROSIE,two\n")
    (here / "posts.jsonl").write_text('{"who": "SAM", "body": "one"}')
    assert records_of("posts.csv:body", "posts.jsonl:body", speaker_column="who")[0] == [
        "SAM: one\n",
        "ROSIE: two\n",
        "SAM: one\n",
    ]
    assert text_of("posts.csv:body", speaker_column="who") == "SAM: one\nROSIE: two"
    (here / "lines.txt").write_text("GIMLI: three")  # plain text has no columns: its lines may already have tags
    assert records_of("lines.txt", speaker_column="who")[0] == ["GIMLI: three\n"]


def test_a_json_field_is_one_source_among_others(here):
    (here / "posts.jsonl").write_text('{"id": "1", "body": "one"}\n{"body": "two"}\n')
    (here / "a.txt").write_text("three")
    assert text_of("posts.jsonl:body", "a.txt") == "one\ntwo\nthree"
    assert "its fields are: id, body" in refusal("posts.jsonl:text")
    assert "posts.jsonl is a JSON Lines file" in refusal("posts.jsonl")
    assert "posts.jsonl:id (fields: id, body)" in refusal("posts.jsonl")
    assert "There is no file or folder other.jsonl;" in refusal("other.jsonl:body")


def test_an_unnamed_column_is_not_suggested(here):
    (here / "posts.csv").write_text(",body\n0,1\n")
    assert "posts.csv:body (columns: body)" in refusal("posts.csv")
