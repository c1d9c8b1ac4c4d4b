"""Running texts: the deadline, the shutdown, the visitor who left, and that concurrent texts do not mix."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.web.fakes import FakeModel, until
from unrolled.config import SamplingSettings
from unrolled.errors import UserError
from unrolled.serving.request import WriteRequest
from unrolled.serving.session import Busy, GenerationSlots
from unrolled.serving.settings import WebSettings
from unrolled.web.pages.view import answer_facts


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
    slots = GenerationSlots(settings, clock)
    writing = slots.open(lambda: model, asking())
    pieces = writing.pieces()
    assert next(pieces) + next(pieces) == model.text(3, 2)
    clock.now += 60.5
    assert list(pieces) == []
    assert writing.outcome.finish_reason == "deadline"
    assert writing.outcome.tokens == 2
    assert writing.outcome.seconds == 60.5
    assert "after 60 seconds" in answer_facts(writing, settings)["note"]
    assert model.closed.acquire(timeout=0)


def test_seconds_stand_still_once_a_text_has_ended():
    clock = Clock()
    writing = GenerationSlots(WebSettings(), clock).open(lambda: FakeModel(), asking(2))
    clock.now += 1.5
    list(writing.pieces())
    clock.now += 100
    assert writing.outcome.seconds == 1.5
    assert answer_facts(writing, WebSettings())["tokens_per_second"] == 1.3


def test_a_text_in_no_time_has_no_speed():
    writing = GenerationSlots(WebSettings(), Clock()).open(lambda: FakeModel(), asking(2))
    list(writing.pieces())
    assert answer_facts(writing, WebSettings())["tokens_per_second"] is None


def test_closing_the_slots_ends_texts_and_takes_no_new_ones():
    slots = GenerationSlots(WebSettings())
    writing = slots.open(lambda: FakeModel(), asking())
    pieces = writing.pieces()
    next(pieces)
    slots.close()
    assert list(pieces) == []
    assert writing.outcome.finish_reason == "shutdown"
    with pytest.raises(Busy):
        slots.open(lambda: FakeModel(), asking())


def test_a_text_ends_when_its_reader_is_gone():
    gone = threading.Event()
    writing = GenerationSlots(WebSettings()).open(lambda: FakeModel(), asking(), gone.is_set)
    pieces = writing.pieces()
    next(pieces)
    gone.set()
    assert list(pieces) == []
    assert writing.outcome.finish_reason == "disconnected"


def test_closing_twice_frees_one_place_only():
    slots = GenerationSlots(WebSettings(generations_at_once=1, queue_length=0))
    first = slots.open(lambda: FakeModel(), asking())
    first.close()
    first.close()
    slots.open(lambda: FakeModel(), asking())
    with pytest.raises(Busy):
        slots.open(lambda: FakeModel(), asking())


def test_a_refused_text_takes_no_place():
    slots = GenerationSlots(WebSettings(generations_at_once=1))
    for _ in range(3):
        with pytest.raises(UserError):
            slots.open(lambda: FakeModel(), WriteRequest("stories", "", {"max_tokens": -1}, 0))
    slots.open(lambda: FakeModel(), asking())


@pytest.mark.parametrize(("samples", "length"), [(1, 20), (3, 16), (50, 1)])
def test_a_models_own_length_is_no_way_around_the_limits(samples, length):
    model = FakeModel(sampling=SamplingSettings(max_tokens=100_000, n=7))
    slots = GenerationSlots(WebSettings(max_tokens=20, max_tokens_together=50))
    writing = slots.open(lambda: model, WriteRequest("stories", "", {} if samples == 1 else {"n": samples}, 0))
    list(writing.pieces())
    assert [sample.tokens for sample in writing.samples] == [length] * samples
    assert writing.samples[-1].text == model.text(samples - 1, length)


def test_texts_written_at_once_equal_texts_written_alone():
    model, together = FakeModel(), 8
    everyone = threading.Barrier(together)
    slots = GenerationSlots(WebSettings(generations_at_once=together))

    def write(seed):
        writing = slots.open(lambda: model, asking(300, seed))
        everyone.wait(30)
        return "".join(writing.pieces())

    with ThreadPoolExecutor(together) as pool:
        assert list(pool.map(write, range(together))) == [model.text(seed, 300) for seed in range(together)]


def test_a_writing_waits_its_turn_and_counts_its_seconds_from_there():
    clock = Clock()
    slots = GenerationSlots(WebSettings(generations_at_once=1, queue_seconds=1000), clock)
    first = slots.open(lambda: FakeModel(), asking())
    with ThreadPoolExecutor(1) as pool:
        second = pool.submit(slots.open, lambda: FakeModel(), asking())
        until(lambda: slots.waiting)
        clock.now += 70
        first.close()
        writing = second.result(30)
        clock.now += 2
        list(writing.pieces())
    assert (writing.outcome.finish_reason, writing.outcome.seconds) == ("length", 2)


def test_a_request_that_is_refused_does_not_wait_for_a_slot():
    slots = GenerationSlots(WebSettings(generations_at_once=1))
    slots.open(lambda: FakeModel(), asking())
    with pytest.raises(UserError, match="max_tokens"):
        slots.open(lambda: FakeModel(), WriteRequest("stories", "", {"max_tokens": -1}, 0))


def test_a_load_takes_no_slot():
    slots, loading, loaded = GenerationSlots(WebSettings(generations_at_once=1)), threading.Event(), threading.Event()

    def load():
        loading.set()
        assert loaded.wait(30)
        return FakeModel()

    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(slots.open, load, asking())
        assert loading.wait(30)
        assert "".join(slots.open(FakeModel, asking()).pieces()) == FakeModel().text(3, 9)
        loaded.set()
        assert slow.result(30).seed == 3


@pytest.mark.parametrize("leaves", ["client", "server"])
def test_who_leaves_while_waiting_gives_the_turn_to_others(leaves):
    slots, gone = GenerationSlots(WebSettings(generations_at_once=1, queue_seconds=1000)), threading.Event()
    slots.open(lambda: FakeModel(), asking())
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(slots.open, FakeModel, asking(), gone.is_set)
        until(lambda: slots.waiting)
        gone.set() if leaves == "client" else slots.close()
        with pytest.raises(Busy):
            waiting.result(30)
    assert slots.waiting == 0


def test_those_who_are_refused_come_back_at_different_times():
    slots = GenerationSlots(
        WebSettings(generations_at_once=1, queue_length=20, queue_seconds=1000, retry_after_seconds=2)
    )
    assert {slots.retry_after() for _ in range(200)} == {1, 2}
    first = slots.open(lambda: FakeModel(), asking())
    with ThreadPoolExecutor(20) as pool:
        waiting = [pool.submit(slots.open, FakeModel, asking()) for _ in range(20)]
        until(lambda: slots.waiting == 20)
        with pytest.raises(Busy) as refused:
            slots.open(lambda: FakeModel(), asking())
        seconds = {slots.retry_after() for _ in range(2000)} | {refused.value.retry_after}
        assert seconds == set(range(1, 21))
        first.close()
        for done in waiting:
            done.add_done_callback(lambda opened: opened.result().close())
