"""Building a tokenizer from a text, and its reported coverage, compared with counts by hand."""

import pytest

from unrolled.config import DataSettings
from unrolled.errors import UserError
from unrolled.text.build import Coverage, make_tokenizer

CHUNKS = ["The ring, the RING!\nthe sea\n", "a ring\nthe a\n"]  # the 4, ring 3, a 2, sea 1
SPOKEN = ["SAM: the ring\nSAM: a ring: gold\n", "SAM: a sea\nOLD MAN: the sea\n", "He said: go\n"]


def make(chunks, **settings):
    return make_tokenizer(iter(chunks), DataSettings(**settings))


def test_words_below_the_least_count_stay_unknown_and_the_report_counts_them():
    tokenizer, coverage = make(CHUNKS, tokenizer="word", min_count=2)
    assert tokenizer.itos == ("<unk>", "<eos>", "the", "ring", "a")
    assert coverage == Coverage(tokens=10, types=4, kept=3, unknown=1)
    assert coverage.unknown_fraction == 0.1
    assert coverage.sentence() == (
        "The training text has 10 words of 4 types; 3 types are in the vocabulary, and 10.0% of the words become <unk>."
    )


def test_the_largest_vocabulary_counts_all_entries():
    tokenizer, coverage = make(CHUNKS, tokenizer="word", min_count=1, vocabulary_size=4)
    assert tokenizer.itos == ("<unk>", "<eos>", "the", "ring")
    assert (coverage.kept, coverage.unknown) == (2, 3)


def test_frequent_speakers_are_tags_and_rare_ones_ordinary_words():
    tokenizer, coverage = make(SPOKEN, tokenizer="word", min_count=2, speaker_column="char")
    assert tokenizer.itos == ("<unk>", "<eos>", "a", "ring", "sea", "the", "SAM:")
    assert tokenizer.tags == ("SAM:",)
    # the ring / a ring gold / a sea / old man the sea / he said go
    assert coverage == Coverage(tokens=14, types=10, kept=4, unknown=6)


def test_without_a_speaker_column_names_are_words():
    tokenizer, _ = make(SPOKEN, tokenizer="word", min_count=3)
    assert tokenizer.itos == ("<unk>", "<eos>", "sam")


def test_characters_and_subwords_have_no_report():
    characters, nothing = make(CHUNKS)
    assert (characters.itos, nothing) == (("<unk>", *sorted(set("".join(CHUNKS)))), None)
    subwords, nothing = make(CHUNKS, tokenizer="bpe", vocabulary_size=260)
    assert (subwords.kind, subwords.vocabulary_size, nothing) == ("bpe", 260, None)
    assert make(["abcdefghij" * 3], tokenizer="bpe")[0].vocabulary_size < 4096


@pytest.mark.parametrize(
    ("chunks", "settings", "words"),
    [
        (["the ring\n"], {}, "occurs 3 times; give more text, or --set data.min_count=1"),
        (["!!! 漢字\n"], {}, "holds no word"),
        (["a a a\n"], {"vocabulary_size": 2}, "A vocabulary of 2 has no room"),
    ],
)
def test_a_text_without_words_for_the_vocabulary_says_what_to_do(chunks, settings, words):
    with pytest.raises(UserError, match=words):
        make(chunks, tokenizer="word", **settings)


def test_the_report_of_nothing_has_no_fraction():
    assert Coverage(0, 0, 0, 0).unknown_fraction == 0
