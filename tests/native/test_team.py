"""Work of the C library in parts: all of it is done, by however many members, and the numbers are the same."""

import pytest
import torch

from unrolled.native import native_library, operands, team, threads
from unrolled.native.team import Cut, cut, do_parts

needs_library = pytest.mark.skipif(
    native_library() is None, reason="no C compiler was here when unrolled was installed"
)
pytestmark = pytest.mark.usefixtures("variant")


@pytest.fixture
def three_threads(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    monkeypatch.setattr(threads, "WORTH_A_THREAD", 0)


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize(
    ("count", "most", "parts", "members"),
    [(0, None, 0, 1), (0, 5, 0, 1), (1, 5, 1, 1), (2, None, 2, 2), (64, None, 3, 3), (64, 64, 3, 3), (64, 10, 9, 3)],
)
def test_a_cut_has_as_many_parts_for_each_member_and_none_too_large(count, most, parts, members):
    found = cut(count, 1, most)
    assert found == Cut(count, parts, members)
    assert most is None or count <= parts * most


def test_little_work_is_not_cut():
    assert cut(64, 1) == Cut(64, 1, 1)


def test_a_large_work_of_one_thread_is_still_cut_into_what_a_part_may_have(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert cut(64, 2**30, 10) == Cut(64, 7, 1)


def _member_by_member(members):
    """Call the member so often, one after the other: the first finds all parts, the others none."""
    return lambda member, argument, asked: [member(argument) for _ in range(members)]


def _in_own_threads(member, argument, asked):
    threads._in_own_threads([lambda: member(argument)] * asked)


@needs_library
@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("call", [_member_by_member(1), _member_by_member(3), _in_own_threads, None])
def test_the_numbers_do_not_depend_on_who_does_which_part(call, precision, monkeypatch):
    torch.manual_seed(0)
    kind, x, w = operands.operands(precision), torch.randn(700, 33), torch.randn(33, 70)
    with monkeypatch.context() as alone:
        alone.setattr(torch, "get_num_threads", lambda: 1)
        expected = _products(kind, x, w)
    if call is not None:
        monkeypatch.setattr(team, "call_in_threads", call)
    for one, other in zip(expected, _products(kind, x, w), strict=True):
        assert torch.equal(one, other)
    exact = x.double() @ w.double()
    assert (expected[0].double() - exact).abs().max() < (1e-4 if precision == "float32" else 0.2)


def _products(kind, x, w):
    """A product, W packed for it, and a transposed product: each is one work in parts."""
    packed, sums = kind.pack(w), kind.zeros_by_group(x.shape[1], w.shape[1])
    product = kind.product(kind.of(x), packed)
    kind.add_transposed_product(sums, kind.of(x), kind.of(product), w.shape[1])
    return product, packed.panels.view(torch.uint8), sums


@needs_library
@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"K": 3, "x": torch.zeros(1, 3)}, "out is missing"),
        ({"K": 3, "x": torch.zeros(1, 3), "out": 5}, "out is an array"),
        ({"K": torch.zeros(1), "x": torch.zeros(1, 3), "out": None}, "K is a size"),
        ({"K": 3, "x": torch.zeros(1, 3), "out": None, "N": 2}, "N is unknown"),
    ],
)
def test_arguments_that_a_work_does_not_take_are_refused(arguments, problem):
    with pytest.raises(TypeError, match=f"^operands: {problem}$"):
        do_parts(native_library(), "operands", "float32", Cut(1, 1, 1), 0, arguments)


@needs_library
def test_arguments_may_be_given_in_any_order():
    x, out = torch.arange(6.0).view(2, 3), torch.empty(2, 3)
    do_parts(native_library(), "operands", "float32", Cut(2, 1, 1), 0, {"out": out, "x": x, "K": 3})
    assert torch.equal(out, x)


@needs_library
def test_each_member_has_scratch_of_its_own(monkeypatch):
    """A member that came second may not begin where the first one still writes."""
    scratch = []

    def look(member, argument, asked):
        work = team._Work.from_address(argument)
        scratch.extend([(work.scratch or 0) % team.LINE_BYTES, work.scratch_bytes])
        member(argument)

    monkeypatch.setattr(team, "call_in_threads", look)
    kind = operands.operands("float32")
    x = torch.ones(5, 3)
    kind.product(x, kind.pack(torch.ones(3, 2)))
    needed = kind.size("product_scratch", 3) * 4
    assert scratch[-2] == 0
    assert needed <= scratch[-1] < needed + team.LINE_BYTES
    assert scratch[-1] % team.LINE_BYTES == 0
