"""A corpus against splitting and encoding the whole text in memory."""

import errno
import io
import json
import os
import tracemalloc

import numpy as np
import pytest

from unrolled.config import DataSettings
from unrolled.data import corpus as corpus_module
from unrolled.data.corpus import open_cached, prepare_corpus
from unrolled.data.stored_ids import StoredIds
from unrolled.errors import UserError
from unrolled.text import WordTokenizer
from unrolled.text.characters import CharacterTokenizer

STORY = "Once upon a time, there was a fox.\r\n" * 40 + "Ende: größer als 漢!"
CLEAN = STORY.replace("\r\n", "\n")


@pytest.fixture
def prepare(tmp_path):
    def prepared(text=STORY, *, valid_fraction=0.1, **options):
        data = text.encode() if isinstance(text, str) else text
        settings = DataSettings(valid_fraction=valid_fraction)
        return prepare_corpus(["-"], settings, stdin=io.BytesIO(data), cache_folder=tmp_path / "cache", **options)

    return prepared


@pytest.fixture
def encodings(monkeypatch):
    """How often a corpus was encoded."""
    calls = []
    original = corpus_module._encode
    monkeypatch.setattr(corpus_module, "_encode", lambda *parts: (calls.append(1), original(*parts)))
    return calls


def test_the_text_is_split_by_position_and_the_training_part_alone_gives_the_vocabulary(prepare):
    corpus = prepare()
    border = len(CLEAN) - round(len(CLEAN) * 0.1)
    assert corpus.tokenizer.itos == ("<unk>", *sorted(set(CLEAN[:border])))
    assert corpus.tokenizer.decode(corpus.train.ids) == CLEAN[:border]
    shown = "".join(c if c in CLEAN[:border] else "\ufffd" for c in CLEAN[border:])
    assert corpus.tokenizer.decode(corpus.valid.ids) == shown
    assert (corpus.train.unknown_tokens, corpus.valid.unknown_tokens) == (0, shown.count("\ufffd"))
    assert corpus.valid.utf8_bytes == len(CLEAN[border:].encode())
    assert corpus.train.characters + corpus.valid.characters == len(CLEAN)


def test_unknown_characters_of_the_validation_part_are_counted_and_listed(prepare):
    corpus = prepare()
    assert corpus.valid.unknown == ("E", "d", ":", "g", "ö", "ß", "l", "漢", "!")
    assert "The validation text has 9 characters" in corpus.notes[0]
    assert "漢 (U+6F22)" in corpus.notes[0]


def test_ids_stay_on_disk_and_are_small(prepare):
    corpus = prepare()
    for sequence in (corpus.train, corpus.valid):
        assert isinstance(sequence.ids, StoredIds)
        assert sequence.ids.dtype == np.uint8
    assert prepare("".join(map(chr, range(32, 700))) * 9).train.ids.dtype == np.uint16


def test_the_same_text_is_encoded_once_whatever_its_newlines(prepare, encodings):
    first, second = prepare(), prepare(CLEAN)
    assert len(encodings) == 1
    assert first.cache_key == second.cache_key
    assert first.notes == second.notes
    assert np.array_equal(first.train.ids, second.train.ids)


def test_another_text_fraction_validation_or_vocabulary_is_another_corpus(prepare, tmp_path):
    (tmp_path / "valid.txt").write_text("something else")
    keys = {
        prepare().cache_key,
        prepare(STORY + "x").cache_key,
        prepare(valid_fraction=0.2).cache_key,
        prepare(valid_sources=[str(tmp_path / "valid.txt")]).cache_key,
        prepare(tokenizer=CharacterTokenizer.from_characters("abc")).cache_key,
        prepare(tokenizer=CharacterTokenizer.from_characters("abd")).cache_key,
    }
    assert len(keys) == 6


def test_a_validation_text_of_its_own_leaves_the_whole_text_for_training(prepare, tmp_path):
    (tmp_path / "valid.txt").write_text("a fox; once")
    corpus = prepare(valid_sources=[str(tmp_path / "valid.txt")])
    assert corpus.tokenizer.decode(corpus.train.ids) == CLEAN
    assert corpus.tokenizer.decode(corpus.valid.ids) == "a fox\ufffd once"
    with pytest.raises(UserError, match="only once"):
        prepare(valid_sources=["-"])


def test_an_existing_vocabulary_is_kept(prepare):
    tokenizer = CharacterTokenizer.from_characters("abcdefghijklmnopqrstuvwxyz ,.\n")
    corpus = prepare(tokenizer=tokenizer)
    assert corpus.tokenizer.fingerprint == tokenizer.fingerprint
    assert corpus.train.unknown_tokens == CLEAN[: corpus.train.characters].count("O")
    assert any("The training text has" in note and "O (U+004F)" in note for note in corpus.notes)


def test_a_cached_corpus_opens_without_its_text(prepare, tmp_path):
    corpus = prepare()
    again = open_cached(corpus.cache_key, tmp_path / "cache")
    assert np.array_equal(again.train.ids, corpus.train.ids)
    assert np.array_equal(again.valid.ids, corpus.valid.ids)
    assert (again.content_sha256, again.cache_key) == (corpus.content_sha256, corpus.cache_key)
    assert (again.train.characters, again.train.utf8_bytes) == (corpus.train.characters, corpus.train.utf8_bytes)
    for key in ("0" * 64, "..", "", "../corpora/" + corpus.cache_key):
        assert open_cached(key, tmp_path / "cache") is None


def truncate(path):
    path.write_bytes(path.read_bytes()[:-2])


def recount(path):
    meta = json.loads(path.read_text())
    meta["train"]["tokens"] = "many"
    path.write_text(json.dumps(meta))


def instead(make):
    def damage(path):
        path.unlink()
        make(path)

    return damage


DAMAGES = [
    ("train.bin", lambda path: os.truncate(path, 10**9)),
    ("train.bin", instead(os.mkfifo)),
    ("valid.bin", instead(lambda path: path.symlink_to("/dev/zero"))),
    ("meta.json", instead(os.mkfifo)),
    ("meta.json", instead(lambda path: path.symlink_to("/dev/zero"))),
    ("meta.json", lambda path: path.write_text("[" * 100_000)),
    ("tokenizer.json", instead(os.mkfifo)),
    ("train.bin", truncate),
    ("valid.bin", lambda path: path.unlink()),
    ("valid.bin", lambda path: path.write_bytes(b"")),
    ("meta.json", truncate),
    ("meta.json", lambda path: path.write_text("[]")),
    ("meta.json", recount),
    ("tokenizer.json", truncate),
    ("vocab.json", lambda path: path.write_text('{"itos": ["<unk>", "a"]}')),
]


@pytest.mark.parametrize(("name", "damage"), DAMAGES)
def test_a_damaged_entry_is_encoded_again(prepare, tmp_path, name, damage):
    corpus = prepare()
    damage(tmp_path / "cache" / "corpora" / corpus.cache_key / name)
    assert open_cached(corpus.cache_key, tmp_path / "cache") is None
    again = prepare()
    assert again.tokenizer.decode(again.train.ids) == CLEAN[: again.train.characters]
    assert open_cached(corpus.cache_key, tmp_path / "cache") is not None


def test_nothing_but_the_corpus_is_left_in_the_cache(prepare, tmp_path):
    corpus = prepare()
    folder = tmp_path / "cache" / "corpora"
    assert [path.name for path in folder.iterdir()] == [corpus.cache_key]
    files = sorted(path.name for path in (folder / corpus.cache_key).iterdir())
    assert files == ["meta.json", "tokenizer.json", "train.bin", "valid.bin", "vocab.json"]


@pytest.mark.parametrize("characters", [1, 2, 3, 5, 39, 40, 41, 100, 1_000])
@pytest.mark.parametrize("valid_fraction", [1e-9, 0.05, 0.999])
def test_tiny_texts_give_two_usable_parts(prepare, characters, valid_fraction):
    text = (CLEAN * 2)[:characters]
    corpus = prepare(text, valid_fraction=valid_fraction)
    assert corpus.train.tokens >= 2
    assert corpus.valid.tokens >= 2
    if characters < 40:
        assert any("the same text validates" in note for note in corpus.notes)
        assert corpus.tokenizer.decode(corpus.valid.ids) == (text if characters > 1 else text * 2)
    else:
        assert corpus.train.tokens + corpus.valid.tokens == characters
    if characters == 1:
        assert any("read twice" in note for note in corpus.notes)


def test_a_single_character_validates_too(prepare, tmp_path):
    (tmp_path / "valid.txt").write_text("O")
    corpus = prepare(valid_sources=[str(tmp_path / "valid.txt")])
    assert corpus.tokenizer.decode(corpus.valid.ids) == "OO"
    assert "The validation text is a single character" in corpus.notes[0]


def test_replaced_bytes_are_reported(tmp_path):
    settings = DataSettings(encoding_errors="replace")
    corpus = prepare_corpus(["-"], settings, stdin=io.BytesIO(b"caf\xe9 " * 20), cache_folder=tmp_path)
    assert any("20 places" in note for note in corpus.notes)


def test_an_unwritable_cache_is_a_note_and_the_corpus_is_whole(tmp_path):
    (tmp_path / "file").touch()
    corpus = prepare_corpus(["-"], DataSettings(), stdin=io.BytesIO(STORY.encode()), cache_folder=tmp_path / "file")
    assert "cannot be written" in corpus.notes[0]
    assert corpus.tokenizer.decode(corpus.train.ids) == CLEAN[: corpus.train.characters]


def test_a_full_disk_is_one_plain_sentence_and_leaves_nothing(prepare, tmp_path, monkeypatch):
    def full(*parts, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(corpus_module, "encode_chunks", full)
    with pytest.raises(UserError, match="is full"):
        prepare()
    assert list((tmp_path / "cache" / "corpora").iterdir()) == []


def test_an_empty_text_is_refused(prepare):
    with pytest.raises(UserError, match="empty"):
        prepare("")


def test_a_text_of_20_megabytes_is_prepared_within_10(tmp_path):
    line = "the fox and the grapes\n"
    lines = 20 * 2**20 // len(line)
    with (tmp_path / "big.txt").open("w") as file:
        for _ in range(lines // 1_000):
            file.write(line * 1_000)
    tracemalloc.start()
    corpus = prepare_corpus([str(tmp_path / "big.txt")], DataSettings(), cache_folder=tmp_path / "cache")
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert corpus.train.characters + corpus.valid.characters == lines // 1_000 * 1_000 * len(line)
    assert peak_bytes < 10 * 2**20


SPOKEN = "who,said\n" + "".join(f'{"SAM" if n % 3 else "ROSIE"},"the ring {n % 4}, {n}."\n' for n in range(60))


@pytest.fixture
def spoken(tmp_path):
    (tmp_path / "spoken.csv").write_text(SPOKEN)

    def prepared(**settings):
        base = {"split": "records", "tokenizer": "word", "min_count": 2}
        source = [f"{tmp_path}/spoken.csv:said"]
        options = {name: settings.pop(name) for name in ("valid_sources", "tokenizer_given") if name in settings}
        tokenizer = options.pop("tokenizer_given", None)
        return prepare_corpus(
            source,
            DataSettings(**{**base, **settings}),
            cache_folder=tmp_path / "cache",
            tokenizer=tokenizer,
            **options,
        )

    return prepared


def test_records_become_three_parts_and_the_training_part_alone_gives_the_words(spoken, tmp_path):
    corpus = spoken()
    texts = [corpus.tokenizer.decode(part.ids, reversible=True) for part in (corpus.train, corpus.valid, corpus.test)]
    assert [text.count("<eos>") for text in texts] == [51, 3, 6]
    assert all(text.endswith("<eos>") for text in texts)
    assert corpus.tokenizer.itos[:4] == ("<unk>", "<eos>", "ring", "the")
    words = [word for text in texts[:1] for word in text.split() if word != "<eos>"]
    assert corpus.coverage.tokens == len(words) == 51 * 4
    assert corpus.coverage.unknown == words.count("<unk>") == corpus.train.unknown_tokens
    assert corpus.coverage.sentence() in corpus.notes
    assert not any(note.startswith("The training text has") and "does not know" in note for note in corpus.notes)
    assert corpus.train.characters + corpus.valid.characters + corpus.test.characters == sum(
        len(f"the ring {n % 4}, {n}.") + 1 for n in range(60)
    )


def test_a_cached_corpus_of_records_opens_with_all_its_parts(spoken, tmp_path, encodings):
    corpus = spoken()
    again = open_cached(corpus.cache_key, tmp_path / "cache")
    for one, other in zip(
        (again.train, again.valid, again.test), (corpus.train, corpus.valid, corpus.test), strict=True
    ):
        assert np.array_equal(one.ids, other.ids)
    assert again.coverage == corpus.coverage
    assert spoken().notes == corpus.notes
    assert len(encodings) == 1
    (tmp_path / "cache" / "corpora" / corpus.cache_key / "test.bin").unlink()
    assert open_cached(corpus.cache_key, tmp_path / "cache") is None


def test_every_setting_that_changes_the_tokens_is_another_corpus(spoken, tmp_path):
    (tmp_path / "valid.txt").write_text("the ring\n")
    one, other = (WordTokenizer(["<unk>", "<eos>", word]) for word in ("ring", "the"))
    changes = [
        {},
        {"min_count": 3},
        {"vocabulary_size": 4},
        {"split_seed": 1},
        {"valid_fraction": 0.2},
        {"test_fraction": 0.2},
        {"speaker_column": "who"},
        {"split": "position"},
        {"tokenizer": "character"},
        {"tokenizer": "bpe"},
        {"tokenizer": "bpe", "vocabulary_size": 260},
        {"valid_sources": [str(tmp_path / "valid.txt")]},
        {"tokenizer_given": one},
        {"tokenizer_given": other},
    ]
    assert len({spoken(**change).cache_key for change in changes}) == len(changes)


def test_settings_that_do_not_matter_leave_the_corpus_as_it_is(spoken, prepare):
    assert spoken(tokenizer="bpe", min_count=3).cache_key == spoken(tokenizer="bpe", min_count=4).cache_key
    key = prepare().cache_key
    settings = DataSettings(valid_fraction=0.1, min_count=9, split_seed=3, test_fraction=0.3, vocabulary_size=500)
    assert prepare_corpus(["-"], settings, stdin=io.BytesIO(STORY.encode())).cache_key == key


def test_the_key_of_a_text_of_characters_is_that_of_the_first_release(prepare):
    assert prepare("a" * 100).cache_key == "5595e557376fd861feefe166daf8be6d3b5a7947f1d9fe2aaf2c5ba6e4da3cde"


def test_speakers_are_tags_and_their_lines_begin_with_them(spoken):
    corpus = spoken(speaker_column="who")
    assert corpus.tokenizer.tags == ("SAM:", "ROSIE:")
    assert {line.split()[0] for line in corpus.tokenizer.decode(corpus.train.ids).splitlines()} == {"SAM:", "ROSIE:"}


def test_bits_per_character_divide_by_the_same_characters_whatever_the_tokens(spoken):
    corpora = [spoken(tokenizer=kind, vocabulary_size=0) for kind in ("character", "word", "bpe")]
    assert len({(corpus.train.characters, corpus.valid.characters, corpus.test.characters) for corpus in corpora}) == 1
    assert len({corpus.valid.tokens for corpus in corpora}) == 3


@pytest.mark.parametrize(("kind", "valid"), [("word", "!\n" * 30), ("word", "")])
def test_a_part_without_a_word_is_one_plain_sentence(prepare, tmp_path, kind, valid):
    text = "the ring\n" * (30 if valid else 0) + valid or "?" * 100
    settings = DataSettings(tokenizer=kind, valid_fraction=0.1)
    with pytest.raises(UserError, match=r"The validation text gives no token|holds no word"):
        prepare_corpus(["-"], settings, stdin=io.BytesIO(text.encode()), cache_folder=tmp_path / "cache")
