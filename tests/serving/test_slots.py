"""The queue for generation slots: in order, bounded in length and time, without places for clients that left."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.web.fakes import until
from unrolled.serving.slots import SlotQueue


def in_line(queue, pool, number, order):
    """Queue requests one after another; each records its number when it gets the slot, and frees the slot."""

    def wait(name):
        assert queue.acquire(1000)
        order.append(name)
        queue.release()

    def join(name):
        before = queue.waiting
        asked = pool.submit(wait, name)
        until(lambda: queue.waiting > before)
        return asked

    return [join(name) for name in range(number)]


def test_slots_are_given_in_the_order_of_the_requests():
    queue, order = SlotQueue(1, 7), []
    assert queue.acquire(0)
    with ThreadPoolExecutor(7) as pool:
        asked = in_line(queue, pool, 7, order)
        queue.release()
        for request in asked:
            request.result(30)
    assert order == list(range(7))


def test_a_full_queue_refuses_at_once():
    queue = SlotQueue(2, 1)
    assert queue.acquire(0)
    assert queue.acquire(0)
    with ThreadPoolExecutor(1) as pool:
        (asked,) = in_line(queue, pool, 1, [])
        assert not queue.acquire(1000)
        queue.release()
        asked.result(30)


def test_without_a_queue_only_a_free_slot_is_given():
    queue = SlotQueue(1, 0)
    assert queue.acquire(1000)
    assert not queue.acquire(1000)
    queue.release()
    assert queue.acquire(1000)


def test_who_waits_too_long_leaves_the_queue():
    queue = SlotQueue(1, 5)
    assert queue.acquire(0)
    assert not queue.acquire(0.01)
    assert queue.waiting == 0
    queue.release()
    assert queue.acquire(0)


def test_who_gives_up_makes_room_for_the_next():
    queue, order = SlotQueue(1, 2), []
    assert queue.acquire(0)
    gone = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        leaving = pool.submit(queue.acquire, 1000, gone.is_set)
        until(lambda: queue.waiting)
        (asked,) = in_line(queue, pool, 1, order)
        gone.set()
        assert leaving.result(30) is False
        queue.release()
        asked.result(30)
    assert order == [0]


def test_an_error_while_waiting_leaves_the_queue():
    def broken():
        raise ZeroDivisionError

    queue = SlotQueue(1, 1)
    assert queue.acquire(0)
    with pytest.raises(ZeroDivisionError):
        queue.acquire(1000, broken)
    assert queue.waiting == 0


def test_a_slot_that_is_given_in_the_last_moment_is_not_lost():
    queue = SlotQueue(1, 1)
    assert queue.acquire(0)

    def gives_up():
        queue.release()  # to this request, which is about to leave
        return True

    assert queue.acquire(1000, gives_up)
    queue.release()
    assert queue.acquire(0)
