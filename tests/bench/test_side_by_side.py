"""Fair timing: every way every round, in turn, the warm-up left out."""

from unrolled.bench.side_by_side import WARM_UP_ROUNDS, circumstances, median_ratio, times_in_turn


def test_every_way_runs_once_a_round_and_rounds_go_through_the_ways_in_both_directions():
    calls = []
    seconds = times_in_turn({name: lambda n, name=name: calls.append((n, name)) for name in "ab"}, 3)
    rounds = range(WARM_UP_ROUNDS + 3)
    assert calls == [(n, name) for n in rounds for name in ("ab" if n % 2 else "ba")]
    assert [len(values) for values in seconds.values()] == [3, 3]


def test_a_ratio_is_the_median_of_the_ratios_within_each_round():
    assert median_ratio([2.0, 30.0, 4.0], [1.0, 10.0, 1.0]) == 3.0


def test_a_figure_comes_with_its_circumstances():
    assert set(circumstances(7)) == {"machine", "threads", "torch", "native", "repetitions"}
