"""The window of the repetition penalty, against a list that is searched again for each token."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from unrolled.sampling.token_counts import TokenCounts, TokenWindow


@given(st.lists(st.integers(0, 6), max_size=40), st.integers(0, 9))
def test_the_window_sees_exactly_the_last_tokens(tokens, size):
    window = TokenWindow(7, size)
    for count, token in enumerate(tokens, start=1):
        window.push(token)
        last = tokens[:count] if size == 0 else tokens[max(0, count - size) : count]
        assert [i for i in range(7) if window.seen[i]] == sorted(set(last))


def test_an_unbounded_window_keeps_no_list_of_tokens():
    window = TokenWindow(3, 0)
    for _ in range(1000):
        window.push(1)
    assert len(window._tokens) == 0


@given(st.lists(st.integers(0, 6), max_size=40))
def test_counts_are_how_often_each_token_was_written(tokens):
    counts = TokenCounts(7)
    for token in tokens:
        counts.push(token)
    assert counts.counts.tolist() == [tokens.count(i) for i in range(7)]
