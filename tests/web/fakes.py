"""A scripted model: the interface of a trained one, without a network, and with gates that a test opens."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace

from unrolled.config import ModelSettings, SamplingSettings, sampling_settings
from unrolled.sampling.generate import Delta

KNOWN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ .,'\n")


class FakeTokenizer:
    vocabulary_size = 89

    def __init__(self, kind: str = "character") -> None:
        self.kind = kind

    def unknown_in(self, text: str) -> list[str]:
        return [c for c in dict.fromkeys(text) if c not in KNOWN]


class FakeModel:
    """Generates `script` repeatedly, rotated by the seed, one character at a time.

    Before character number i, a gate in `gates` is waited for; `failure` is raised there instead where it is given.
    `log` receives ("opened" | "closed", seed).
    """

    writing_device = "cpu"
    writing_device_reason = "the fastest for one token"
    decoding = "float32"
    warnings = ()

    def __init__(
        self,
        name: str = "stories",
        script: str = "the sea was calm. ",
        gates: Mapping[int, threading.Event] | None = None,
        failures: Mapping[int, Exception] | None = None,
        kind: str = "character",
        sampling: SamplingSettings | None = None,
    ) -> None:
        self.tokenizer = FakeTokenizer(kind)
        self.settings = SimpleNamespace(
            model=ModelSettings(embedding_size=24, hidden_size=320, layers=2),
            sampling=SamplingSettings() if sampling is None else sampling,
        )
        self.name = name
        self.script = script
        self.gates = dict(gates or {})
        self.failures = dict(failures or {})
        self.opened: list[int] = []
        self.written = 0
        self.asked: list[tuple[str, SamplingSettings]] = []
        self.closed = threading.Semaphore(0)  # one release for each generator that ended

    def info(self) -> dict:
        return {"parameters": 1_234_567, "valid_bits_per_char": 1.75434}

    def sampling(self, settings: dict) -> SamplingSettings:
        return sampling_settings(settings, self.settings.sampling)

    def stream_with(self, prompt: str, settings: SamplingSettings) -> Iterator[Delta]:
        self.asked.append((prompt, settings))
        return self._deltas(settings.seed, settings.max_tokens, settings.n)

    def _deltas(self, seed: int, length: int, samples: int) -> Iterator[Delta]:
        self.opened.append(seed)
        try:
            for i in range(length):
                if i in self.gates:
                    assert self.gates[i].wait(30), "a test forgot to open a gate"
                if i in self.failures:
                    raise self.failures[i]
                last = i == length - 1
                self.written += 1
                for j in range(samples):
                    yield Delta(j, self.character(seed + j, i), "length" if last else None, i + 1)
        finally:
            self.closed.release()

    def character(self, seed: int, i: int) -> str:
        return self.script[(seed + i) % len(self.script)]

    def text(self, seed: int, length: int) -> str:
        """What this model generates with a seed: the expectation of most tests."""
        return "".join(self.character(seed, i) for i in range(length))


def until(condition: Callable[[], object], seconds: float = 30) -> None:
    """Wait until something that other threads bring about is true."""
    end, pause = time.monotonic() + seconds, threading.Event()
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        pause.wait(0.001)
