"""How cost grows: one size changes at a time, and every stream counts."""

import pytest

from unrolled.bench import generation, growth
from unrolled.bench.training import PLAIN_LOOP, TORCH, Shape

TINY = Shape(embedding_size=3, hidden_size=4, layers=1, vocabulary_size=90, window=5, batch_size=2)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setattr(growth, "SHAPES", {"stories": TINY})
    monkeypatch.setattr(growth, "SIZES", {"hidden_size": (6, 7), "layers": (1, 2, 3)})
    monkeypatch.setattr(growth, "PLAIN", generation.PLAIN.model_copy(update={"max_tokens": 4}))
    monkeypatch.setattr(growth, "STREAMS", (1, 3))


def test_one_size_changes_and_the_others_stay_as_they_are(monkeypatch):
    shapes, ways = [], growth.ways_to_train

    def seen(shape):
        shapes.append(shape)
        return ways(shape)

    monkeypatch.setattr(growth, "ways_to_train", seen)
    sizes = growth.measure_steps(1)["sizes"]
    assert [(s.hidden_size, s.layers) for s in shapes] == [(6, 1), (7, 1), (4, 1), (4, 2), (4, 3)]
    assert {(s.embedding_size, s.vocabulary_size, s.window, s.batch_size) for s in shapes} == {(3, 90, 5, 2)}
    assert [measured["values"] for measured in sizes.values()] == [[6, 7], [1, 2, 3]]


def test_every_way_has_a_time_at_every_size_and_the_slow_ones_are_left_out():
    for measured in growth.measure_steps(1)["sizes"].values():
        assert {TORCH, "ours, fused"} <= set(measured["milliseconds"])
        assert not {PLAIN_LOOP, "ours, reference"} & set(measured["milliseconds"])
        assert {len(times) for times in measured["milliseconds"].values()} == {len(measured["values"])}


def test_the_rate_counts_the_characters_of_all_streams(monkeypatch):
    monkeypatch.setattr(growth, "times_in_turn", lambda ways, rounds: {name: [0.5] * rounds for name in ways})
    figures = growth.measure_streams(2)
    assert figures["streams"] == [1, 3]
    assert figures["characters_per_second"] == [4 / 0.5, 3 * 4 / 0.5]


def test_each_way_writes_its_number_of_streams_to_the_end(monkeypatch):
    texts = growth._writers(TINY)[3](0)
    assert sum(delta.finish_reason is not None for delta in texts) == 3
