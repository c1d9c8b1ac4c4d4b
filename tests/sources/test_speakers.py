"""Tags of speakers, spelled out."""

from collections import Counter

from unrolled.sources.speakers import missing_note, tagged


def test_a_speaker_is_one_line_before_the_text():
    missing = Counter()
    assert tagged(" MERRY \n and\tPIPPIN ", "  Run! ", missing) == "MERRY and PIPPIN: Run! "
    assert missing_note(missing, "char", "a.csv") == []


def test_records_without_a_speaker_stay_as_they_are_and_are_counted():
    missing = Counter()
    assert [tagged(" \n", " Run!", missing), tagged("", "Go!", missing)] == [" Run!", "Go!"]
    assert missing_note(missing, "char", "a.csv") == ["2 records of a.csv have no 'char'; they get no tag."]
