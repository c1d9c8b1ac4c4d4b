"""benchmarks/dialogue.py: only whole runs are figures."""

import pytest

from benchmarks import dialogue
from unrolled.training import Finished


def test_a_run_that_was_stopped_ends_the_benchmark_with_a_sentence(monkeypatch):
    stopped = Finished("stopped by a signal; it can be resumed", True, 7, 1.0, None, "run")
    monkeypatch.setattr(dialogue.unrolled, "train", lambda *_, **__: stopped)
    monkeypatch.setattr(dialogue.unrolled, "load", lambda *_, **__: pytest.fail("half a run was measured"))
    with pytest.raises(SystemExit, match="dialogue-best, seed 2: stopped at step 7"):
        dialogue.figures("lines.csv:text", "dialogue-best", 2)
