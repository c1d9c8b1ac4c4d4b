"""Which precision training takes, and why."""

from typing import get_args

import pytest

from unrolled.config import Precision
from unrolled.kernels import available_kernels, choose_precision
from unrolled.kernels.native import NativeKernel, kernel
from unrolled.kernels.native import precision as native_precision
from unrolled.native import DTYPES, native_library

pytestmark = [
    pytest.mark.skipif(native_library() is None, reason="no C compiler was here when unrolled was installed"),
    pytest.mark.usefixtures("variant"),
]


@pytest.mark.parametrize(
    ("fast", "right", "expected"),
    [
        (True, True, ("bfloat16", "faster on this processor")),
        (True, False, ("float32", "bfloat16 gave other numbers when it was checked on this processor")),
        (False, True, ("float32", "the C kernels in use, {variant}, have no instructions for bfloat16")),
    ],
)
def test_auto_is_bfloat16_where_it_is_fast_and_was_found_right(variant, fast, right, expected, monkeypatch):
    monkeypatch.setattr(kernel, "bfloat16_is_fast", lambda: fast)
    monkeypatch.setattr(kernel, "bfloat16_is_correct", lambda _: right)
    found = choose_precision("auto", NativeKernel(), "cpu")
    assert (found.precision, found.reason) == (expected[0], expected[1].format(variant=variant))


def test_bfloat16_is_fast_in_the_variant_that_has_instructions_for_it_and_no_other(variant):
    assert native_precision.bfloat16_is_fast() == (variant == "avx512bf16")


def test_a_requested_precision_is_taken_and_the_objection_to_it_is_told(variant, monkeypatch):
    monkeypatch.setattr(kernel, "bfloat16_is_fast", lambda: False)
    assert choose_precision("float32", NativeKernel(), "cpu").reason == "as requested"
    found = choose_precision("bfloat16", NativeKernel(), "cpu")
    assert found.precision == "bfloat16"
    objection = f"the C kernels in use, {variant}, have no instructions for bfloat16"
    assert found.reason == f"as requested, although {objection}"


@pytest.mark.parametrize(
    ("name", "device"), [("fused", "cpu"), ("reference", "cpu"), ("fused", "cuda"), ("native", "cuda")]
)
def test_other_kernels_and_devices_have_float32_alone(name, device):
    one = available_kernels()[name]
    assert choose_precision("auto", one, device).precision == "float32"
    with pytest.raises(ValueError, match=rf"{name} does not train in bfloat16 on {device}; .*precision=float32"):
        choose_precision("bfloat16", one, device)


@pytest.mark.parametrize("name", available_kernels())
def test_a_kernel_in_another_precision_is_the_same_kernel_and_an_unknown_precision_is_refused(name):
    one = available_kernels()[name]
    assert one.precision == "float32"
    for precision in one.precisions("cpu"):
        other = one.with_precision(precision)
        assert (type(other), other.precision) == (type(one), precision)
    with pytest.raises(ValueError, match="not float7"):
        one.with_precision("float7")


def test_the_check_accepts_correct_numbers():
    native_precision._variant_is_correct.cache_clear()
    assert native_precision.bfloat16_is_correct(NativeKernel)


@pytest.mark.parametrize("wrong", [lambda x: x * 1.1, lambda x: x.flip(0), lambda x: x * float("nan")])
def test_the_check_rejects_wrong_numbers(wrong, monkeypatch):
    right = NativeKernel.run

    def run(self, inputs, *others):
        h, h_last, c_last = right(self, inputs, *others)
        return (wrong(h) if self.precision == "bfloat16" else h), h_last, c_last

    monkeypatch.setattr(NativeKernel, "run", run)
    native_precision._variant_is_correct.cache_clear()
    assert not native_precision.bfloat16_is_correct(NativeKernel)
    native_precision._variant_is_correct.cache_clear()


def test_the_precisions_that_a_user_may_choose_are_those_of_the_c_library():
    assert get_args(Precision) == tuple(DTYPES)
