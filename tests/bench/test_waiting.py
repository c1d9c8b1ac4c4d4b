"""What a step waits for: the real batchers on really encoded text, and the share of a step that they take."""

import json

import pytest

from unrolled.bench import training, waiting


@pytest.fixture
def watched(monkeypatch):
    """A clock that goes on by one second whenever it is read, and the corpora that were made."""
    corpora, prepare = [], waiting.prepare_corpus
    ticks = iter(range(10_000))

    def keep(*arguments, **options):
        corpora.append(prepare(*arguments, **options))
        return corpora[-1]

    monkeypatch.setattr(waiting, "prepare_corpus", keep)
    monkeypatch.setattr(waiting, "CHARACTERS", 200_000)
    monkeypatch.setattr("time.perf_counter", lambda: float(next(ticks)))
    return corpora


@pytest.mark.parametrize("kind", ["character", "word"])
def test_encoding_is_spread_over_the_passes_and_a_batch_is_counted_whole(watched, kind):
    figures = waiting.waiting(kind, batch_size=3, window=7)
    (corpus,) = watched
    assert corpus.tokenizer.kind == kind
    tokens = corpus.train.tokens + corpus.valid.tokens
    assert figures["encoding_milliseconds"] == round(1000 * 3 * 7 / tokens / waiting.PASSES, 4)  # one tick for it all
    assert figures["random_windows_milliseconds"] == figures["streams_milliseconds"] == 1000  # one tick a batch


def test_the_share_counts_the_slower_batcher_and_the_encoding():
    milliseconds = {"random_windows_milliseconds": 0.5, "streams_milliseconds": 0.3, "encoding_milliseconds": 0.1}
    assert waiting.share_of_step(milliseconds, step_seconds=0.05) == pytest.approx(0.6 / 50)


def test_the_benchmark_of_training_prints_the_share_in_a_line_and_under_a_key(tiny_shape, cli):
    figures = json.loads(cli("bench", "training", "--repetitions", "1", "--json").out)["waiting"]
    assert figures["share_of_step"] > 0
    assert {f"{name}_milliseconds" for name in ("random_windows", "streams", "encoding")} < set(figures)
    assert "\nencoding and batching: " in cli("bench", "training", "--repetitions", "1").out


@pytest.mark.parametrize(("shape", "kind"), [("stories", "character"), ("words", "word")])
def test_the_step_is_the_fastest_of_ours_and_the_tokens_are_those_of_the_shape(monkeypatch, shape, kind):
    asked = []

    def figures(*arguments):
        asked.append(arguments)
        return {"streams_milliseconds": 1.0, "encoding_milliseconds": 1.0}

    monkeypatch.setattr(training, "waiting", figures)
    seconds = {"ours, fused": [4.0, 4.0, 4.0], "ours, native": [2.0, 0.1, 9.0], "torch.nn.LSTM": [1.0, 1.0, 1.0]}
    sizes = training.SHAPES[shape]
    assert training._waiting(shape, sizes, seconds)["share_of_step"] == 0.001
    assert asked == [(kind, sizes.batch_size, sizes.window)]
