"""The thread pool: a thread that waits is replaced, one that ends is not started again."""

import threading

from tests.web.fakes import until
from unrolled.web.transport.threads import ThreadPool


class Task:
    """Runs a function, as a request does."""

    def __init__(self, work):
        self.service = work

    def cancel(self):
        """Be dropped."""


def test_as_many_threads_work_however_many_wait():
    pool, gate, worked = ThreadPool(2), threading.Event(), threading.Semaphore(0)

    def wait():
        with pool.waiting():
            assert gate.wait(30)

    for _ in range(20):
        pool.add_task(Task(wait))
    for _ in range(3):
        pool.add_task(Task(worked.release))
    for _ in range(3):
        assert worked.acquire(timeout=30)
    assert not gate.is_set()
    until(lambda: len(pool.threads) == 22)
    gate.set()
    until(lambda: len(pool.threads) == 2)
    pool.shutdown()


def test_a_pool_that_was_shut_down_starts_no_thread():
    pool, gate, waits = ThreadPool(1), threading.Event(), threading.Event()

    def wait():
        with pool.waiting():
            waits.set()
            assert gate.wait(30)

    pool.add_task(Task(wait))
    assert waits.wait(30)
    pool.shutdown(timeout=0)
    gate.set()
    until(lambda: not pool.threads)
    with pool.waiting():
        assert not pool.threads
