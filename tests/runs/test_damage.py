"""Every damage to a run is one plain sentence, whatever was damaged and however."""

import json
import os
import shutil

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from unrolled import load
from unrolled.errors import UserError
from unrolled.runs import RunFolder
from unrolled.text import load_tokenizer
from unrolled.text.characters import CharacterTokenizer
from unrolled.training import resume

FUZZ = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def edit_config(change):
    def damage(run):
        values = json.loads((run / "config.json").read_text())
        change(values)
        (run / "config.json").write_text(json.dumps(values))

    return damage


def setting(section, key, value):
    return edit_config(lambda values: values[section].update({key: value}))


def top(key, value):
    return edit_config(lambda values: values.update({key: value}))


def write(name, data):
    return lambda run: (run / name).write_bytes(data)


def truncate(name, share):
    def damage(run):
        data = (run / name).read_bytes()
        (run / name).write_bytes(data[: int(len(data) * share)])

    return damage


def remove(name):
    return lambda run: (run / name).unlink()


def folder_instead(name):
    def damage(run):
        (run / name).unlink()
        (run / name).mkdir()

    return damage


def edit_weights(change, metadata=None):
    def damage(run):
        path = run / "model.safetensors"
        from safetensors import safe_open

        with safe_open(path, framework="pt") as file:
            about = file.metadata()
        tensors = load_file(path)
        change(tensors)
        save_file(tensors, path, about if metadata is None else metadata)

    return damage


def nan_in(name):
    def change(tensors):
        tensors[name].view(-1)[3] = torch.nan

    return edit_weights(change)


def other_tokenizer(run):
    CharacterTokenizer.from_characters("abc").save(run)


def other_tokenizer_with_its_hash(run):
    other = CharacterTokenizer.from_characters("abc")
    other.save(run)
    top("vocabulary_size", 4)(run)
    top("tokenizer_sha256", other.fingerprint)(run)


def same_size_tokenizer_with_its_hash(run):
    size = json.loads((run / "config.json").read_text())["vocabulary_size"]
    other = CharacterTokenizer.from_characters([chr(0x4E00 + k) for k in range(size - 1)])
    other.save(run)
    top("tokenizer_sha256", other.fingerprint)(run)


def about(**values):
    return {"unrolled": json.dumps({"step": 5, "valid_loss_nats": 1.0, "tokenizer_sha256": "x", **values})}


DAMAGES = {
    "config missing": (remove("config.json"), "config.json is missing"),
    "config empty": (write("config.json", b""), "damaged"),
    "config truncated": (truncate("config.json", 0.5), "damaged"),
    "config no UTF-8": (write("config.json", b"\xff\xfe{}"), "damaged"),
    "config nested too deep": (write("config.json", b"[" * 200_000), "damaged"),
    "config a list": (write("config.json", b"[]"), "not the configuration"),
    "config huge": (write("config.json", b" " * 1_000_001), "too large"),
    "config a folder": (folder_instead("config.json"), "config.json is missing"),
    "config foreign": (write("config.json", b'{"model_type": "gpt2"}'), "not that of an unrolled run"),
    "config newer": (top("format_version", 99), "upgrade unrolled"),
    "config of no version": (top("format_version", "new"), "never existed"),
    "hidden size negative": (setting("model", "hidden_size", -1), "greater than or equal to 1"),
    "hidden size huge": (setting("model", "hidden_size", 10**12), "less than or equal to"),
    "hidden size allowed but wrong": (setting("model", "hidden_size", 16_384), "disagrees with config.json"),
    "hidden size text": (setting("model", "hidden_size", "many"), "model.hidden_size"),
    "hidden size missing": (edit_config(lambda v: v["model"].pop("hidden_size")), "disagrees with config.json"),
    "layers allowed but wrong": (setting("model", "layers", 64), "is missing"),
    "dropout NaN": (setting("regularization", "dropout", float("nan")), "regularization.dropout"),
    "setting unknown": (setting("model", "hiden_size", 3), "did you mean model.hidden_size"),
    "section a list": (top("model", []), "model"),
    "vocabulary size wrong": (top("vocabulary_size", 7), "not the one that this model was trained with"),
    "vocabulary size huge": (top("vocabulary_size", 10**18), "not the one that this model was trained with"),
    "vocabulary size true": (top("vocabulary_size", True), "vocabulary_size is missing or of a wrong type"),
    "hash missing": (edit_config(lambda v: v.pop("tokenizer_sha256")), "tokenizer_sha256 is missing"),
    "corpus strange": (top("corpus", {"names": "x", "train_tokens": "many"}), "corpus.names is of a wrong type"),
    "names of texts strange": (top("corpus", {"names": [1]}), "corpus.names is of a wrong type"),
    "made with numbers": (top("made_with", {"torch": float("nan")}), "made_with is of a wrong type"),
    "made with a list": (top("made_with", []), "made_with is of a wrong type"),
    "half a surrogate pair": (top("command", "unrolled train \ud800"), "half of a surrogate pair"),
    "a number of thousands of digits": (
        lambda run: write("config.json", (run / "config.json").read_bytes().replace(b": 9", b": 9" + b"0" * 5_000, 1))(
            run
        ),
        "thousands of digits",
    ),
    "a number beyond all ranges": (setting("model", "layers", 10**400), "model.layers"),
    "an infinite rate": (setting("training", "learning_rate", float("inf")), "training.learning_rate"),
    "tokenizer missing": (remove("tokenizer.json"), "tokenizer.json is missing"),
    "tokenizer truncated": (truncate("tokenizer.json", 0.5), "truncated or is not JSON"),
    "tokenizer a folder": (folder_instead("tokenizer.json"), "cannot be read"),
    "tokenizer of another run": (other_tokenizer, "not the one that this model was trained with"),
    "tokenizer and hash of another run": (other_tokenizer_with_its_hash, "disagrees with config.json"),
    "tokenizer and hash of one as large": (same_size_tokenizer_with_its_hash, "trained with another tokenizer"),
    "weights missing": (remove("model.safetensors"), "no weights yet"),
    "weights empty": (write("model.safetensors", b""), "damaged"),
    "weights random": (write("model.safetensors", np.random.default_rng(1).bytes(5000)), "damaged"),
    "weights a pickle": (write("model.safetensors", b"\x80\x04\x95" + bytes(100)), "damaged"),
    "weights with a huge header": (write("model.safetensors", b"\xff" * 7 + b"\x7f" + b"{}"), "damaged"),
    "weights truncated": (truncate("model.safetensors", 0.9), "damaged"),
    "weights a folder": (folder_instead("model.safetensors"), "is a directory, not a regular file"),
    "weights not a number": (nan_in("layers.0.w_hh"), "not finite, in layers.0.w_hh"),
    "weights lack one": (edit_weights(lambda t: t.pop("output_bias")), "output_bias is missing"),
    "weights have one too many": (
        edit_weights(lambda t: t.update(more=torch.ones(2))),
        "more is not part of this model",
    ),
    "weights of another shape": (edit_weights(lambda t: t.update(output_bias=torch.ones(2))), "output_bias is [2]"),
    "weights of another type": (
        edit_weights(lambda t: t.update(output_bias=t["output_bias"].long())),
        "output_bias has the type I64",
    ),
    "weights of another program": (edit_weights(lambda t: None, {"format": "pt"}), "unrolled did not write"),
    "weights about nothing": (edit_weights(lambda t: None, {"unrolled": "[1]"}), "unrolled did not write"),
    "weights of an infinite step": (
        edit_weights(lambda t: None, {"unrolled": about(step=0)["unrolled"].replace('"step": 0', '"step": 1e999')}),
        "unrolled did not write",
    ),
    "weights of a negative step": (edit_weights(lambda t: None, about(step=-1)), "unrolled did not write"),
    "weights of a loss that is no number": (
        edit_weights(lambda t: None, about(valid_loss_nats=True)),
        "unrolled did not write",
    ),
    "weights of a loss beyond all numbers": (
        edit_weights(lambda t: None, about(valid_loss_nats=10**400)),
        "unrolled did not write",
    ),
    "weights of another tokenizer": (edit_weights(lambda t: None, about()), "another tokenizer"),
}


def one_plain_sentence(error):
    text = str(error)
    return text.endswith((".", "?")) and "Traceback" not in text and "\n" not in text and 20 < len(text) < 700


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_run_is_one_plain_sentence_that_says_what(run, name):
    damage, words = DAMAGES[name]
    damage(run)
    with pytest.raises(UserError) as error:
        load(run)
    assert words in str(error.value).replace(str(run), "RUN")  # the folder is named after the test
    assert one_plain_sentence(error.value)


def test_a_path_that_is_no_run_is_one_plain_sentence(run):
    for path in (run / "none", run / "config.json", run / "checkpoints", ""):
        with pytest.raises(UserError) as error:
            load(path)
        assert one_plain_sentence(error.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission_is_one_plain_sentence(run):
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (run / name).chmod(0)
        with pytest.raises(UserError):
            load(run)
        (run / name).chmod(0o600)


def test_links_to_a_run_and_to_its_files_are_fine(run, tmp_path):
    (tmp_path / "link").symlink_to(run)
    (tmp_path / "linked").mkdir()
    for name in ("config.json", "tokenizer.json", "vocab.json", "model.safetensors"):
        (tmp_path / "linked" / name).symlink_to(run / name)
    text = load(run).generate("The", seed=1, max_tokens=20)
    assert load(tmp_path / "link").generate("The", seed=1, max_tokens=20) == text
    assert load(tmp_path / "linked").generate("The", seed=1, max_tokens=20) == text
    assert load(tmp_path / "linked").name == "linked"


def test_vocab_json_alone_may_be_missing(run):
    (run / "vocab.json").unlink()
    assert load(run).tokenizer.vocabulary_size > 2


def fuzzed(run, name, position, value, cut):
    """Load a run in which one byte is another, or whose file ends early."""
    original = (run / name).read_bytes()
    data = bytearray(original)
    data[position % len(data)] = value
    (run / name).write_bytes(data[: position % len(data)] if cut else data)
    try:
        load(run)
    except UserError as error:
        if len(str(error)) <= 20:
            pytest.fail(f"no sentence: {error}")
    finally:
        (run / name).write_bytes(original)


@FUZZ
@given(position=st.integers(0, 10**6), value=st.integers(0, 255), cut=st.booleans())
def test_no_byte_of_the_configuration_can_crash_a_reader(run, position, value, cut):
    fuzzed(run, "config.json", position, value, cut)


@FUZZ
@given(position=st.integers(0, 1200), value=st.integers(0, 255), cut=st.booleans())
def test_no_byte_of_the_header_of_the_weights_can_crash_a_reader(run, position, value, cut):
    fuzzed(run, "model.safetensors", position, value, cut)


@FUZZ
@given(position=st.integers(0, 10**6), value=st.integers(0, 255), cut=st.booleans())
def test_no_byte_of_the_tokenizer_can_crash_a_reader(run, position, value, cut):
    fuzzed(run, "tokenizer.json", position, value, cut)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from([10**400, -1, "\ud800"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def places(value, path=()):
    """Return the path of every value within a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, inner in items for place in places(inner, (*path, key)))]


def replaced(value, path, new):
    """Return the value with another one at a path."""
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


@FUZZ
@given(data=st.data(), name=st.sampled_from(["config.json", "tokenizer.json", "vocab.json"]))
def test_no_value_in_a_file_of_a_run_can_crash_a_reader(run, data, name):
    original = (run / name).read_bytes()
    content = json.loads(original)
    place = data.draw(st.sampled_from(places(content)))
    (run / name).write_text(json.dumps(replaced(content, place, data.draw(VALUES))))
    folder = RunFolder(run)
    try:
        config = folder.read_config()
        assert isinstance(json.dumps(config.to_json(), ensure_ascii=False).encode(), bytes)
        load_tokenizer(run)
        folder.read_tokenizer(config)
    except UserError as error:
        if len(str(error)) <= 20:
            pytest.fail(f"no sentence: {error}")
    finally:
        (run / name).write_bytes(original)


@FUZZ
@given(content=st.binary(max_size=60), name=st.sampled_from(["config.json", "tokenizer.json", "vocab.json"]))
def test_no_content_of_a_file_of_a_run_can_crash_a_reader(run, content, name):
    original = (run / name).read_bytes()
    (run / name).write_bytes(content)
    with pytest.raises(UserError):
        load(run)
    (run / name).write_bytes(original)


def edit_checkpoint(change_tensors=lambda tensors: None, change_counters=lambda counters: None):
    def damage(run):
        from unrolled.runs import Checkpoint, read_checkpoint, write_checkpoint

        path = run / "checkpoints" / "last.safetensors"
        found = read_checkpoint(path)
        tensors, counters = dict(found.tensors), json.loads(json.dumps(found.counters))
        change_tensors(tensors)
        change_counters(counters)
        write_checkpoint(path, Checkpoint(tensors, counters))

    return damage


LAST = "checkpoints/last.safetensors"
CHECKPOINT_DAMAGES = {
    "missing": (remove(LAST), "There is no checkpoint"),
    "empty": (write(LAST, b""), "damaged"),
    "larger than any of this run": (lambda run: os.truncate(run / LAST, 10**9), "larger than"),
    "counters nested too deep": (
        lambda run: save_file({}, run / LAST, {"unrolled-checkpoint": "[" * 100_000}),
        "damaged",
    ),
    "truncated": (truncate(LAST, 0.8), "damaged"),
    "a folder": (folder_instead(LAST), "damaged"),
    "weights instead": (lambda run: shutil.copy(run / "model.safetensors", run / LAST), "damaged"),
    "no counters": (edit_checkpoint(change_counters=lambda c: c.clear()), "not the checkpoint of a run"),
    "training of a wrong type": (
        edit_checkpoint(change_counters=lambda c: c.update(training=[1])),
        "not the checkpoint",
    ),
    "a counter of a wrong type": (
        edit_checkpoint(change_counters=lambda c: c["training"].update(step="5")),
        "not the checkpoint",
    ),
    "a negative counter": (
        edit_checkpoint(change_counters=lambda c: c["training"].update(step=-1)),
        "not the checkpoint",
    ),
    "a counter too many": (
        edit_checkpoint(change_counters=lambda c: c["training"].update(more=1)),
        "not the checkpoint",
    ),
    "sources of a wrong type": (edit_checkpoint(change_counters=lambda c: c.update(sources=[1])), "not the checkpoint"),
    "weight missing": (edit_checkpoint(lambda t: t.pop("model.output_bias")), "does not fit"),
    "weight of another shape": (
        edit_checkpoint(lambda t: t.update({"model.output_bias": torch.ones(2)})),
        "does not fit",
    ),
    "weight not a number": (edit_checkpoint(lambda t: t["model.output_bias"].fill_(torch.nan)), "does not fit"),
    "moment missing": (edit_checkpoint(lambda t: t.pop("optimiser.adam.0.exp_avg")), "does not fit"),
    "moment of another shape": (
        edit_checkpoint(lambda t: t.update({"optimiser.adam.0.exp_avg": torch.ones(2)})),
        "does not fit",
    ),
    "moments of one weight missing": (
        edit_checkpoint(lambda t: [t.pop(name) for name in list(t) if name.startswith("optimiser.adam.0.")]),
        "does not fit",
    ),
    "generator missing": (edit_checkpoint(lambda t: t.pop("batches.generator")), "does not fit"),
    "generator cut short": (
        edit_checkpoint(lambda t: t.update({"dropout.generator": t["dropout.generator"][:9]})),
        "does not fit",
    ),
    "half a hidden state": (edit_checkpoint(lambda t: t.pop("state.c")), "does not fit"),
    "hidden state of another shape": (
        edit_checkpoint(lambda t: t.update({"state.c": torch.ones(1, 2, 9)})),
        "does not fit",
    ),
}


@pytest.mark.parametrize("name", CHECKPOINT_DAMAGES)
def test_a_damaged_checkpoint_is_one_plain_sentence_and_the_model_still_opens(
    run, story, monkeypatch, trained_once, name
):
    monkeypatch.setenv("UNROLLED_CACHE", str(trained_once.parent / "cache"))
    damage, words = CHECKPOINT_DAMAGES[name]
    damage(run)
    before = (run / "config.json").read_bytes()
    with pytest.raises(UserError) as error:
        resume(run, steps=30)
    assert words in str(error.value).replace(str(run), "RUN")
    assert one_plain_sentence(error.value)
    assert load(run).best.step > 0
    if words != "does not fit":
        assert (run / "config.json").read_bytes() == before
