"""Loads on demand: a slow load delays only the requests for its model, and those for a bounded time."""

import threading
from pathlib import Path

import pytest

from tests.web.fakes import FakeModel, until
from unrolled.serving.loading import ModelLoader, ModelLoading, ModelUnavailable
from unrolled.serving.models import ModelFolder, served_models
from unrolled.serving.settings import WebSettings
from unrolled.web.app import create_app


class Blocking:
    """Folders of models whose loads wait until they are let through."""

    def __init__(self, *names):
        self.let_through = threading.Event()
        self.opened = []
        self.folders = [ModelFolder(Path(name), lambda name=name: self.load(name)) for name in names]

    def load(self, name):
        self.opened.append(name)
        assert self.let_through.wait(30), "a test forgot to let a load through"
        return FakeModel(name)


@pytest.fixture
def blocking():
    loads = Blocking("slow", "slower")
    yield loads
    loads.let_through.set()


def until_loaded(model):
    until(lambda: model.loaded is not None)


def test_a_load_that_takes_long_is_a_sentence_and_continues(blocking):
    models = served_models(blocking.folders, ModelLoader(seconds=0.01))
    for _ in range(3):
        with pytest.raises(ModelLoading, match="The model slow is being loaded; please try again"):
            models["slow"].ready()
    blocking.let_through.set()
    until_loaded(models["slow"])
    assert models["slow"].ready().name == "slow"
    assert blocking.opened == ["slow"]


def test_a_load_does_not_wait_for_another_ones(blocking):
    quick = ModelFolder(Path("quick"), lambda: FakeModel("quick"))
    models = served_models([*blocking.folders, quick], ModelLoader(seconds=0.01))
    with pytest.raises(ModelLoading):
        models["slow"].ready()
    unhurried = ModelLoader(seconds=30)
    models["quick"]._loader = unhurried
    assert models["quick"].ready().name == "quick"
    assert models["slow"].loaded is None


def test_no_more_models_are_loaded_at_one_moment_than_are_held(blocking):
    models = served_models(blocking.folders, ModelLoader(most=1, seconds=0.01))
    for model in models.values():
        with pytest.raises(ModelLoading):
            model.ready()
    assert blocking.opened == ["slow"]
    blocking.let_through.set()
    until_loaded(models["slower"])
    assert blocking.opened == ["slow", "slower"]


def test_beyond_a_number_of_waiting_requests_the_next_is_refused_at_once(blocking):
    loader = ModelLoader(seconds=1000, most_waiting=1)
    model, _ = served_models(blocking.folders, loader).values()
    waiting = threading.Thread(target=model.ready)
    waiting.start()
    until(lambda: not loader._waits._value)
    with pytest.raises(ModelLoading):
        model.ready()
    blocking.let_through.set()
    waiting.join(30)
    assert model.ready().name == "slow"


def test_a_model_that_nobody_waited_for_makes_room_like_any_other(blocking):
    quick = [ModelFolder(Path(name), lambda name=name: FakeModel(name)) for name in "ab"]
    loader = ModelLoader(most=2, seconds=0.01)
    models = served_models([*blocking.folders[:1], *quick], loader)
    with pytest.raises(ModelLoading):
        models["slow"].ready()
    blocking.let_through.set()
    until_loaded(models["slow"])
    until(lambda: loader._recent)
    loader._seconds = 30
    assert [models[name].ready().name for name in "ab"] == ["a", "b"]
    assert models["slow"].loaded is None


@pytest.mark.parametrize("failure", [SystemExit(3), MemoryError()])
def test_whatever_ends_a_load_is_told_to_those_who_wait(failure):
    def load():
        raise failure

    (model,) = served_models([ModelFolder(Path("a"), load)]).values()
    with pytest.raises(ModelUnavailable):
        model.ready()


def test_a_model_that_hangs_leaves_the_others_their_slots(blocking):
    settings = WebSettings(generations_at_once=1, queue_length=0, load_seconds=0.01, retry_after_seconds=1)
    client = create_app([FakeModel("good"), *blocking.folders], settings).test_client()
    for path, sent in (("/api/generate", {"json": {"model": "slow"}}), ("/stream", {"data": {"model": "slower"}})):
        refused = client.post(path, **sent)
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
        assert "is being loaded" in refused.json["error"]
        assert client.post("/api/generate", json={"max_tokens": 2}).status_code == 200
    page = client.post("/", data={"model": "slow", "prompt": "Mine"})
    assert page.status_code == 503
    assert "Mine</textarea>" in page.get_data(as_text=True)


def test_requests_that_wait_for_a_hanging_model_leave_the_others_their_slots(served, blocking):
    from tests.web.test_server import ask, connect, rest

    server = served(create_app([FakeModel("good"), *blocking.folders], WebSettings(generations_at_once=1)))
    answers = []

    def want_slow():
        with connect(server) as connection:
            answers.append(rest(ask(connection, model="slow", max_tokens=2))[-1]["tokens"])

    waiting = [threading.Thread(target=want_slow) for _ in range(5)]
    for thread in waiting:
        thread.start()
    until(lambda: blocking.opened)
    with connect(server) as connection:
        assert rest(ask(connection, max_tokens=3))[-1]["tokens"] == 3
    blocking.let_through.set()
    for thread in waiting:
        thread.join(30)
    assert answers == [2] * 5
