"""A vocabulary is made to fit the model, and whoever uses the model is told."""

import pytest

from tests.importers.elsewhere import words
from unrolled.importers.vocabulary import NEW_ROW, reconciled


def test_a_vocabulary_of_the_right_length_is_taken_as_it_is_and_nothing_is_said():
    fitted = reconciled(words(13), 13, "vocab.pkl")
    assert fitted.tokenizer.itos == tuple(words(13))
    assert fitted.tokenizer.kind == "word"
    assert (fitted.warnings, fitted.rows) == ((), None)


def test_a_longer_one_is_cut_with_a_warning():
    fitted = reconciled(words(17), 13, "vocab.pkl")
    assert fitted.tokenizer.itos == tuple(words(13))
    assert "17 entries and the model 13: the last 4 were cut" in fitted.warnings[0]


def test_a_shorter_one_is_filled_with_a_warning():
    fitted = reconciled(words(11), 13, "vocab.pkl")
    assert fitted.tokenizer.itos == (*words(11), "<extra_11>", "<extra_12>")
    assert "the missing 2 are called <extra_11> to <extra_12>" in fitted.warnings[0]


def test_a_filler_never_repeats_a_word():
    itos = reconciled(["<unk>", "<extra_3>", "a"], 5, "vocab.pkl").tokenizer.itos
    assert len(set(itos)) == len(itos) == 5


def test_without_one_a_placeholder_stands_in_with_a_warning():
    fitted = reconciled(None, 13, "")
    assert fitted.tokenizer.itos == tuple(f"token_{index}" for index in range(13))
    assert fitted.tokenizer.encode("token_3 any word").tolist() == [0, 0, 0]
    assert "placeholder of 13 entries" in fitted.warnings[0]
    assert "--vocab" in fitted.warnings[0]


@pytest.mark.parametrize(
    ("itos", "unknown"), [(["a", "<unk>", "b"], 1), (["<unk>", "a", "b"], 0), (["the", "a", "b"], 0)]
)
def test_unknown_words_are_unk_else_index_0(itos, unknown):
    tokenizer = reconciled(itos, 3, "vocab.pkl").tokenizer
    assert tokenizer.encode("never").tolist() == [unknown]


def test_words_that_no_prompt_can_hold_are_named():
    fitted = reconciled(["<unk>", "The", "the", ",", "don't", "<eos>"], 6, "vocab.pkl")
    assert "2 entries of vocab.pkl can be written but not read ('The', ',')" in fitted.warnings[0]


def test_an_empty_text_gets_a_name():
    assert reconciled(["<unk>", "", "a"], 3, "vocab.pkl").tokenizer.itos == ("<unk>", "<extra_1>", "a")


def test_single_characters_with_a_space_among_them_are_a_character_vocabulary():
    fitted = reconciled(["<unk>", "\n", " ", "b", "a"], 5, "vocab_char_full.json")
    assert fitted.tokenizer.kind == "character"
    assert fitted.tokenizer.encode("ab c").tolist() == [4, 3, 2, 0]
    assert fitted.rows == (0, 1, 2, 3, 4)


def test_without_a_space_the_layout_decides():
    assert reconciled(["<unk>", "a", "b"], 3, "v").tokenizer.kind == "word"
    assert reconciled(["<unk>", "a", "b"], 3, "v", characters=True).tokenizer.kind == "character"
    assert reconciled(["<unk>", "an", " "], 3, "v", characters=True).tokenizer.kind == "word"


def test_the_unknown_character_moves_to_the_front_or_is_new():
    moved = reconciled(["a", " ", "<unk>", "b"], 4, "v")
    assert moved.tokenizer.itos == ("<unk>", "a", " ", "b")
    assert moved.rows == (2, 0, 1, 3)
    new = reconciled(["a", " ", "b"], 3, "v")
    assert new.tokenizer.itos == ("<unk>", "a", " ", "b")
    assert new.rows == (NEW_ROW, 0, 1, 2)


def test_names_among_characters_become_characters_for_private_use_with_a_warning():
    fitted = reconciled(["<pad>", "a", " "], 5, "v")
    assert [len(entry) for entry in fitted.tokenizer.itos[1:]] == [1] * 5
    assert fitted.rows == (NEW_ROW, 0, 1, 2, 3, 4)
    assert "'<pad>', '<extra_3>', '<extra_4>'" in fitted.warnings[1]
