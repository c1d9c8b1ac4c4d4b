"""Served models: ids from names and folders, loading and unloading, and clear messages when a load fails."""

import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.web.fakes import FakeModel
from unrolled.config import DataSettings, SamplingSettings, Settings
from unrolled.errors import UserError
from unrolled.sampling import Delta
from unrolled.serving.models import ModelFolder, ModelLoader, ModelUnavailable, double_names, served_models
from unrolled.serving.request import GenerationRequest
from unrolled.serving.session import GenerationSlots
from unrolled.serving.settings import WebSettings


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


def test_a_folder_is_loaded_once_however_many_ask_for_it():
    opened = []
    everyone = threading.Barrier(6)

    def load(name):
        opened.append(name)
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
    assert {id(answer) for answer in answers} == {id(model.loaded) for model in models.values()}
    assert models["a"].info["parameters"] == 1_234_567


class Detached(FakeModel):
    """A model whose iterators hold no reference to it."""

    def stream_with(self, prompt, settings):
        return iter([Delta(0, "abcde", "length", 5)])


def loadable(names, opened, most=2, **facts):
    """Return served models that record their loads; a server keeps `most` of them."""

    def load(name):
        opened.append(name)
        model = Detached(name, kind="word")
        vars(model).update(facts)
        return model

    folders = [ModelFolder(Path(name), lambda name=name: load(name)) for name in names]
    return served_models(folders, ModelLoader(most=most))


def test_the_model_that_was_not_asked_for_longest_makes_room_and_is_loaded_again():
    opened = []
    models = loadable("abc", opened)
    for name in "abacaab":
        assert models[name].ready().name == name
    assert opened == ["a", "b", "c", "b"]
    assert [name for name, model in models.items() if model.loaded is not None] == ["a", "b"]
    assert (models["c"].kind, models["c"].info["parameters"]) == ("word", 1_234_567)
    assert models["c"].settings.model.hidden_size == 320


def test_a_model_that_someone_writes_with_is_never_loaded_a_second_time():
    opened = []
    models = loadable("abc", opened, most=1)
    held = models["a"].ready()
    for name in "bcb":
        models[name].ready()
    assert models["a"].loaded is None
    assert models["a"].ready() is held
    assert opened == ["a", "b", "c", "b"]


def test_a_text_on_its_way_holds_its_model():
    opened = []
    models = loadable("ab", opened, most=1)
    session = GenerationSlots(WebSettings()).open(models["a"].ready, GenerationRequest("a", "On", {}, 3))
    models["b"].ready()
    gc.collect()
    models["a"].ready()
    assert opened == ["a", "b"]
    assert "".join(session.deltas()) == "abcde"


def test_models_that_were_loaded_at_the_start_stay():
    first, second = named("first"), named("second")
    folder = ModelFolder(Path("second"), FakeModel, model=second)
    models = served_models([first, folder, *(ModelFolder(Path(n), FakeModel) for n in "abc")], ModelLoader(most=1))
    for model in models.values():
        model.ready()
    assert (models["first"].loaded, models["second"].loaded) == (first, second)
    assert [models[name].loaded is None for name in "abc"] == [True, True, False]


def test_a_warning_that_only_the_loaded_model_knows_goes_to_the_log_once(caplog):
    models = loadable("ab", [], most=1, warnings=("The vocabulary is a placeholder.",))
    for name in "aabba":
        models[name].ready()
    assert [record.getMessage() for record in caplog.records] == [
        "a: The vocabulary is a placeholder.",
        "b: The vocabulary is a placeholder.",
    ]
    assert models["b"].warnings == ("The vocabulary is a placeholder.",)


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
    ("failure", "explains_failures", "words"),
    [
        (UserError("weights of /home/me/a are damaged."), True, "weights of /home/me/a are damaged."),
        (UserError("weights of /home/me/a are damaged."), False, "cannot be used right now"),
        (ZeroDivisionError("/home/me/a"), True, "the server's log says why"),
        (MemoryError(), True, "the server's log says why"),
    ],
)
def test_a_load_that_fails_is_told_in_plain_words_and_tried_again(caplog, failure, explains_failures, words):
    failures = [failure]

    def load():
        if failures:
            raise failures.pop()
        return FakeModel("a")

    (model,) = served_models([ModelFolder(Path("a"), load)], ModelLoader(explains_failures)).values()
    with pytest.raises(ModelUnavailable, match="The model a ") as caught:
        model.ready()
    assert words in str(caught.value)
    assert explains_failures or "/home" not in str(caught.value)
    assert "the model a" in caplog.text
    assert model.ready().name == "a"


def test_a_note_about_the_files_of_a_model_goes_to_the_log_once(caplog, monkeypatch):
    monkeypatch.setattr(FakeModel, "info", lambda self: {"notes": ["metrics.jsonl: 1 line left out."]})
    models = loadable("ab", [], most=1)
    for name in "aba":
        models[name].ready()
    assert [record.getMessage() for record in caplog.records] == [
        "a: metrics.jsonl: 1 line left out.",
        "b: metrics.jsonl: 1 line left out.",
    ]


def test_the_warnings_of_a_model_are_its_own():
    model = FakeModel()
    model.warnings = ["a\ud800", "b"]
    assert next(iter(served_models([model]).values())).warnings == ("a\ufffd", "b")
    without = SimpleNamespace(**{name: getattr(model, name) for name in ("name", "settings", "tokenizer", "info")})
    assert next(iter(served_models([without]).values())).warnings == ()
