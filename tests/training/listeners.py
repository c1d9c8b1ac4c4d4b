"""Listeners of a training run, and what they have heard."""

import signal

from unrolled.training import Note, Stepped


def notes(seen):
    return " ".join(event.text for event in seen if isinstance(event, Note))


def stop_at(step, seen):
    def listen(event):
        seen.append(event)
        if isinstance(event, Stepped) and event.step == step:
            signal.raise_signal(signal.SIGINT)

    return listen
