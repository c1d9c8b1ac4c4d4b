"""Stop strings compared with an oracle that processes one character at a time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.text.stops import StopScanner

few_letters = st.text(alphabet="ab", max_size=12)
stop_lists = st.lists(st.text(alphabet="ab", min_size=1, max_size=4), max_size=3)


def oracle(chunks, stops):
    """Return the text that processing by character gives, and whether it stopped."""
    seen = ""
    for text, may_stop in chunks:
        for character in text:
            seen += character
            complete = [stop for stop in stops if seen.endswith(stop)]
            if may_stop and complete:
                return seen[: -max(map(len, complete))], True
    return seen, False


def scanned(chunks, stops):
    scanner = StopScanner(stops)
    out, stopped = "", False
    for text, may_stop in chunks:
        emitted, stopped = scanner.push(text, may_stop)
        out += emitted
        if stopped:
            break
    return out + scanner.flush(), stopped


@given(chunks=st.lists(st.tuples(few_letters, st.booleans()), max_size=6), stops=stop_lists)
def test_any_chunks_give_what_one_character_at_a_time_gives(chunks, stops):
    assert scanned(chunks, stops) == oracle(chunks, stops)


@given(text=few_letters, stops=stop_lists)
def test_only_the_longest_suffix_that_may_become_a_match_is_held_back(text, stops):
    scanner = StopScanner(stops)
    emitted, stopped = scanner.push(text, may_stop=False)
    assert not stopped
    held = text[len(emitted) :]
    starts = [text[i:] for i in range(len(text)) if any(s != text[i:] and s.startswith(text[i:]) for s in stops)]
    assert held == max(starts, key=len, default="")


def test_the_match_that_is_completed_first_wins_in_any_order():
    for stops in (["abcd", "bc"], ["bc", "abcd"]):
        assert StopScanner(stops).push("xabcde") == ("xa", True)


def test_of_matches_that_complete_together_the_one_that_starts_first_wins():
    assert StopScanner(["c", "abc", "bc"]).push("xabc") == ("x", True)


def test_a_stop_across_many_pieces_is_cut_at_its_start():
    scanner = StopScanner(["THE END"])
    assert [scanner.push(chunk) for chunk in ("so. T", "HE", " EN", "D!")] == [
        ("so. ", False),
        ("", False),
        ("", False),
        ("", True),
    ]
    assert scanner.flush() == ""
    assert scanner.push("more") == ("", True)


def test_held_text_comes_out_when_the_match_dies_or_the_text_ends():
    scanner = StopScanner(["\n\n"])
    assert scanner.push("a\n") == ("a", False)
    assert scanner.push("b\n") == ("\nb", False)
    assert scanner.flush() == "\n"
    assert scanner.flush() == ""


def test_a_match_completed_before_it_may_stop_passes():
    scanner = StopScanner(["aba"])
    assert scanner.push("aba", may_stop=False) == ("ab", False)
    assert scanner.push("ba") == ("", True)


def test_without_stop_strings_nothing_is_held_back():
    assert StopScanner([]).push("abc") == ("abc", False)


def test_an_empty_stop_string_is_the_callers_mistake():
    with pytest.raises(ValueError, match="empty"):
        StopScanner(["a", ""])
