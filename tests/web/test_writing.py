"""Running texts: the deadline, the shutdown, the visitor who left, and that concurrent texts do not mix."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from unrolled.errors import UserError
from unrolled.web.forms import WriteRequest
from unrolled.web.page import answer_facts
from unrolled.web.settings import WebSettings
from unrolled.web.writing import Busy, Desk

from .fakes import FakeModel


class Clock:
    """Seconds that pass only when told."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def asking(length=9, seed=3):
    return WriteRequest("stories", "Once", {"max_tokens": length, "temperature": 0.5}, seed)


def test_a_text_that_takes_too_long_ends_with_a_note():
    clock, settings = Clock(), WebSettings(deadline_seconds=60)
    model = FakeModel()
    desk = Desk(settings, clock)
    writing = desk.open(model, asking())
    pieces = writing.pieces()
    assert next(pieces) + next(pieces) == model.text(3, 2)
    clock.now += 60.5
    assert list(pieces) == []
    assert writing.outcome.finish_reason == "deadline"
    assert writing.outcome.tokens == 2
    assert writing.outcome.seconds == 60.5
    assert "after 60 seconds" in answer_facts(asking(), writing.outcome, settings)["note"]
    assert model.closed.acquire(timeout=0)


def test_seconds_stand_still_once_a_text_has_ended():
    clock = Clock()
    writing = Desk(WebSettings(), clock).open(FakeModel(), asking(2))
    clock.now += 1.5
    list(writing.pieces())
    clock.now += 100
    assert writing.outcome.seconds == 1.5
    assert answer_facts(asking(2), writing.outcome, WebSettings())["tokens_per_second"] == 1.3


def test_a_text_in_no_time_has_no_speed():
    writing = Desk(WebSettings(), Clock()).open(FakeModel(), asking(2))
    list(writing.pieces())
    assert answer_facts(asking(2), writing.outcome, WebSettings())["tokens_per_second"] is None


def test_a_closing_desk_ends_texts_and_takes_no_new_ones():
    desk = Desk(WebSettings())
    writing = desk.open(FakeModel(), asking())
    pieces = writing.pieces()
    next(pieces)
    desk.close()
    assert list(pieces) == []
    assert writing.outcome.finish_reason == "shutdown"
    with pytest.raises(Busy):
        desk.open(FakeModel(), asking())


def test_a_text_ends_when_its_reader_is_gone():
    gone = threading.Event()
    writing = Desk(WebSettings()).open(FakeModel(), asking(), gone.is_set)
    pieces = writing.pieces()
    next(pieces)
    gone.set()
    assert list(pieces) == []
    assert writing.outcome.finish_reason == "disconnected"


def test_closing_twice_frees_one_place_only():
    desk = Desk(WebSettings(generations_at_once=1))
    first = desk.open(FakeModel(), asking())
    first.close()
    first.close()
    desk.open(FakeModel(), asking())
    with pytest.raises(Busy):
        desk.open(FakeModel(), asking())


def test_a_refused_text_takes_no_place():
    desk = Desk(WebSettings(generations_at_once=1))
    for _ in range(3):
        with pytest.raises(UserError):
            desk.open(FakeModel(), WriteRequest("stories", "", {"max_tokens": -1}, 0))
    desk.open(FakeModel(), asking())


def test_texts_written_at_once_equal_texts_written_alone():
    model, together = FakeModel(), 8
    everyone = threading.Barrier(together)
    desk = Desk(WebSettings(generations_at_once=together))

    def write(seed):
        writing = desk.open(model, asking(300, seed))
        everyone.wait(30)
        return "".join(writing.pieces())

    with ThreadPoolExecutor(together) as pool:
        assert list(pool.map(write, range(together))) == [model.text(seed, 300) for seed in range(together)]
