"""Generation sessions: deadline, shutdown, clients that leave, and that concurrent sessions do not mix."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.web.fakes import FakeModel, until
from unrolled.config import SamplingSettings
from unrolled.errors import UserError
from unrolled.serving.request import GenerationRequest
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
    return GenerationRequest("stories", "Once", {"max_tokens": length, "temperature": 0.5}, seed)


def test_a_text_that_takes_too_long_ends_with_a_note():
    clock, settings = Clock(), WebSettings(deadline_seconds=60)
    model = FakeModel()
    slots = GenerationSlots(settings, clock)
    session = slots.open(lambda: model, asking())
    deltas = session.deltas()
    assert next(deltas) + next(deltas) == model.text(3, 2)
    clock.now += 60.5
    assert list(deltas) == []
    assert session.outcome.finish_reason == "deadline"
    assert session.outcome.tokens == 2
    assert session.outcome.seconds == 60.5
    assert "after 60 seconds" in answer_facts(session, settings)["note"]
    assert model.closed.acquire(timeout=0)


def test_seconds_stand_still_once_a_text_has_ended():
    clock = Clock()
    session = GenerationSlots(WebSettings(), clock).open(lambda: FakeModel(), asking(2))
    clock.now += 1.5
    list(session.deltas())
    clock.now += 100
    assert session.outcome.seconds == 1.5
    assert answer_facts(session, WebSettings())["tokens_per_second"] == 1.3


def test_a_text_in_no_time_has_no_speed():
    session = GenerationSlots(WebSettings(), Clock()).open(lambda: FakeModel(), asking(2))
    list(session.deltas())
    assert answer_facts(session, WebSettings())["tokens_per_second"] is None


def test_closing_the_slots_ends_texts_and_takes_no_new_ones():
    slots = GenerationSlots(WebSettings())
    session = slots.open(lambda: FakeModel(), asking())
    deltas = session.deltas()
    next(deltas)
    slots.close()
    assert list(deltas) == []
    assert session.outcome.finish_reason == "shutdown"
    with pytest.raises(Busy):
        slots.open(lambda: FakeModel(), asking())


def test_a_text_ends_when_its_reader_is_gone():
    gone = threading.Event()
    session = GenerationSlots(WebSettings()).open(lambda: FakeModel(), asking(), gone.is_set)
    deltas = session.deltas()
    next(deltas)
    gone.set()
    assert list(deltas) == []
    assert session.outcome.finish_reason == "disconnected"


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
            slots.open(lambda: FakeModel(), GenerationRequest("stories", "", {"max_tokens": -1}, 0))
    slots.open(lambda: FakeModel(), asking())


def test_the_settings_of_a_request_are_merged_and_validated_once(monkeypatch):
    validated = []
    model = FakeModel(sampling=SamplingSettings(top_k=7, seed=99))
    monkeypatch.setattr(model, "sampling", lambda given: validated.append(given) or FakeModel.sampling(model, given))
    session = GenerationSlots(WebSettings()).open(lambda: model, asking(2))
    list(session.deltas())
    assert validated == [{"n": 1, "max_tokens": 2, "temperature": 0.5, "seed": 3}]
    assert session.sampling == SamplingSettings(top_k=7, max_tokens=2, temperature=0.5, seed=3)


@pytest.mark.parametrize(("samples", "length"), [(1, 20), (3, 16), (50, 1)])
def test_a_models_own_length_is_no_way_around_the_limits(samples, length):
    model = FakeModel(sampling=SamplingSettings(max_tokens=100_000, n=7))
    slots = GenerationSlots(WebSettings(max_tokens=20, max_tokens_together=50))
    session = slots.open(lambda: model, GenerationRequest("stories", "", {} if samples == 1 else {"n": samples}, 0))
    list(session.deltas())
    assert [sample.tokens for sample in session.samples] == [length] * samples
    assert session.samples[-1].text == model.text(samples - 1, length)


def test_texts_written_at_once_equal_texts_written_alone():
    model, together = FakeModel(), 8
    everyone = threading.Barrier(together)
    slots = GenerationSlots(WebSettings(generations_at_once=together))

    def write(seed):
        session = slots.open(lambda: model, asking(300, seed))
        everyone.wait(30)
        return "".join(session.deltas())

    with ThreadPoolExecutor(together) as pool:
        assert list(pool.map(write, range(together))) == [model.text(seed, 300) for seed in range(together)]


def test_a_session_waits_its_turn_and_counts_its_seconds_from_there():
    clock = Clock()
    slots = GenerationSlots(WebSettings(generations_at_once=1, queue_seconds=1000), clock)
    first = slots.open(lambda: FakeModel(), asking())
    with ThreadPoolExecutor(1) as pool:
        second = pool.submit(slots.open, lambda: FakeModel(), asking())
        until(lambda: slots.waiting)
        clock.now += 70
        first.close()
        session = second.result(30)
        clock.now += 2
        list(session.deltas())
    assert (session.outcome.finish_reason, session.outcome.seconds) == ("length", 2)


def test_a_request_that_is_refused_does_not_wait_for_a_slot():
    slots = GenerationSlots(WebSettings(generations_at_once=1))
    slots.open(lambda: FakeModel(), asking())
    with pytest.raises(UserError, match="max_tokens"):
        slots.open(lambda: FakeModel(), GenerationRequest("stories", "", {"max_tokens": -1}, 0))


def test_a_load_takes_no_slot():
    slots, loading, loaded = GenerationSlots(WebSettings(generations_at_once=1)), threading.Event(), threading.Event()

    def load():
        loading.set()
        assert loaded.wait(30)
        return FakeModel()

    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(slots.open, load, asking())
        assert loading.wait(30)
        assert "".join(slots.open(FakeModel, asking()).deltas()) == FakeModel().text(3, 9)
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
