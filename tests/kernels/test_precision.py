"""Which precision training takes, and why."""

import pytest

from unrolled.kernels import choose_precision, precision
from unrolled.kernels.native import NativeKernel
from unrolled.kernels.native import precision as native_precision
from unrolled.native import native_library

pytestmark = [
    pytest.mark.skipif(native_library() is None, reason="no C compiler was here when unrolled was installed"),
    pytest.mark.usefixtures("variant"),
]


@pytest.mark.parametrize(
    ("fast", "right", "expected"),
    [
        (True, True, ("bfloat16", "faster on this processor")),
        (True, False, ("float32", "bfloat16 gave other numbers when it was tried on this processor")),
        (False, True, ("float32", "the C kernels in use, {variant}, have no instructions for bfloat16")),
    ],
)
def test_auto_is_bfloat16_where_it_is_fast_and_was_found_right(variant, fast, right, expected, monkeypatch):
    monkeypatch.setattr(precision, "bfloat16_is_fast", lambda: fast)
    monkeypatch.setattr(precision, "bfloat16_is_right", lambda: right)
    found = choose_precision("auto", "native", "cpu")
    assert (found.precision, found.reason) == (expected[0], expected[1].format(variant=variant))


def test_bfloat16_is_fast_in_the_variant_that_has_instructions_for_it_and_no_other(variant):
    assert native_precision.bfloat16_is_fast() == (variant == "avx512bf16")


def test_what_was_asked_for_is_taken_and_a_slow_choice_is_told(monkeypatch):
    monkeypatch.setattr(precision, "bfloat16_is_fast", lambda: False)
    assert choose_precision("float32", "native", "cpu").reason == "as asked"
    asked = choose_precision("bfloat16", "native", "cpu")
    assert (asked.precision, asked.reason) == ("bfloat16", "as asked, slower than float32 here")


@pytest.mark.parametrize(("kernel", "device"), [("fused", "cpu"), ("reference", "cpu"), ("fused", "cuda")])
def test_other_kernels_and_devices_have_float32_alone(kernel, device):
    assert choose_precision("auto", kernel, device).precision == "float32"
    with pytest.raises(ValueError, match=r"use --set training\.precision=float32"):
        choose_precision("bfloat16", kernel, device)


def test_the_trial_finds_right_numbers_right():
    native_precision._variant_is_right.cache_clear()
    assert native_precision.bfloat16_is_right()


@pytest.mark.parametrize("wrong", [lambda x: x * 1.1, lambda x: x.flip(0), lambda x: x * float("nan")])
def test_the_trial_finds_wrong_numbers_wrong(wrong, monkeypatch):
    right = NativeKernel.run

    def run(self, inputs, *others):
        h, h_last, c_last = right(self, inputs, *others)
        return (wrong(h) if self.precision == "bfloat16" else h), h_last, c_last

    monkeypatch.setattr(NativeKernel, "run", run)
    native_precision._variant_is_right.cache_clear()
    assert not native_precision.bfloat16_is_right()
    native_precision._variant_is_right.cache_clear()
