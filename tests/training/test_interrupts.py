"""Signals while training."""

import signal
import threading

import pytest

from unrolled.training.interrupts import Stopped, StopRequest, stop_on_signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_a_request_and_the_second_one_stops_at_once(number):
    with stop_on_signals() as request:
        assert request.signal is None
        signal.raise_signal(number)
        assert request.signal == number
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_the_first_signal_stops_at_the_next_look_and_stays_the_one_that_is_told():
    request = StopRequest()
    request.check()
    request.note(signal.SIGTERM)
    request.note(signal.SIGINT)
    assert request.signal == signal.SIGTERM
    with pytest.raises(Stopped):
        request.check()


def fail_while_training(handler):
    with stop_on_signals():
        assert signal.getsignal(signal.SIGINT) != handler
        raise ZeroDivisionError


def test_the_handlers_that_were_there_come_back_even_after_an_error():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(ZeroDivisionError):
        fail_while_training(before[0])
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_in_another_thread_no_signal_is_caught_and_none_is_needed():
    before, seen = signal.getsignal(signal.SIGINT), []

    def work():
        with stop_on_signals() as request:
            seen.extend([request.signal, signal.getsignal(signal.SIGINT)])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [None, before]
