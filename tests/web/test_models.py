"""Served models: ids from names and folders, one load at a time, and plain words where a load fails."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from unrolled.config import DataSettings, SamplingSettings, Settings
from unrolled.errors import UserError
from unrolled.web.models import Loading, ModelFolder, ModelUnavailable, double_names, served_models

from .fakes import FakeModel


def named(name, folder=None):
    model = FakeModel(name)
    model.folder = folder
    return model


def test_ids_are_made_from_names_and_are_safe_in_an_address():
    served = served_models([named("My Run #2"), named("../../etc"), named("Ärger"), named("???"), named("x" * 99)])
    assert list(served) == ["my-run-2", "etc", "rger", "model", "x" * 60]
    assert [model.name for model in served.values()] == ["My Run #2", "../../etc", "Ärger", "???", "x" * 99]


def test_models_of_one_name_are_told_apart_by_their_folders_whatever_their_order():
    folders = [Path("/runs/monday/fox"), Path("/runs/tuesday/fox"), Path("/runs/owl")]
    there = served_models([named(folder.name, folder) for folder in folders])
    back = served_models([named(folder.name, folder) for folder in reversed(folders)])
    assert list(there) == ["fox-monday", "fox-tuesday", "owl"]
    assert {key: model.name for key, model in there.items()} == {key: model.name for key, model in back.items()}
    assert there["fox-monday"].name == "fox (monday)"
    assert double_names(there) == ["2 models are called fox; they are offered as fox-monday, fox-tuesday."]
    assert double_names(served_models([named("a"), named("b")])) == []


def test_models_that_nothing_tells_apart_are_numbered():
    assert list(served_models([named("fox"), named("fox"), named("fox-2")])) == ["fox", "fox-2", "fox-2-2"]


def test_a_folder_is_loaded_once_however_many_ask_for_it_and_one_at_a_time():
    opened, together, most = [], [], []
    everyone = threading.Barrier(6)

    def load(name):
        together.append(name)
        most.append(len(together))
        opened.append(name)
        together.remove(name)
        return FakeModel(name)

    models = served_models([ModelFolder(Path(name), lambda name=name: load(name)) for name in ("a", "b")])
    assert models["a"].loaded is None
    assert opened == []

    def ask(number):
        everyone.wait(30)
        return models["ab"[number % 2]].ready()

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(ask, range(6)))
    assert sorted(opened) == ["a", "b"]
    assert most == [1, 1]
    assert {id(answer) for answer in answers} == {id(model.loaded) for model in models.values()}
    assert models["a"].info["parameters"] == 1_234_567


def test_before_it_is_loaded_a_model_shows_what_its_folder_says():
    sampling = SamplingSettings(max_tokens=7)
    settings = Settings(data=DataSettings(tokenizer="character"), sampling=sampling)
    (known,) = served_models([ModelFolder(Path("a"), FakeModel, settings)]).values()
    (bare,) = served_models([ModelFolder(Path("b"), FakeModel)]).values()
    assert (known.kind, known.sampling, known.info, known.warnings) == ("character", sampling, {}, ())
    assert (bare.kind, bare.sampling, bare.settings) == ("token", SamplingSettings(), None)
    bare.ready()
    assert (bare.kind, bare.settings.model.hidden_size) == ("character", 320)


@pytest.mark.parametrize(
    ("failure", "says_why", "words"),
    [
        (UserError("weights of /home/me/a are damaged."), True, "weights of /home/me/a are damaged."),
        (UserError("weights of /home/me/a are damaged."), False, "cannot be used at the moment"),
        (ZeroDivisionError("/home/me/a"), True, "the server's log says why"),
        (MemoryError(), True, "the server's log says why"),
    ],
)
def test_a_load_that_fails_is_told_in_plain_words_and_tried_again(caplog, failure, says_why, words):
    failures = [failure]

    def load():
        if failures:
            raise failures.pop()
        return FakeModel("a")

    (model,) = served_models([ModelFolder(Path("a"), load)], Loading(says_why)).values()
    with pytest.raises(ModelUnavailable, match="The model a ") as caught:
        model.ready()
    assert words in str(caught.value)
    assert says_why or "/home" not in str(caught.value)
    assert "the model a" in caplog.text
    assert model.ready().name == "a"


def test_the_warnings_of_a_model_are_its_own():
    model = FakeModel()
    model.warnings = ["a\ud800", "b"]
    assert next(iter(served_models([model]).values())).warnings == ("a\ufffd", "b")
    without = SimpleNamespace(**{name: getattr(model, name) for name in ("name", "settings", "tokenizer", "info")})
    assert next(iter(served_models([without]).values())).warnings == ()
