"""Which variant of the C kernels is used: the fastest that the processor executes, or the pinned one, never another."""

from types import SimpleNamespace

import pytest

from unrolled.errors import UserError
from unrolled.kernels import available_kernels, explain_kernels, select_kernel, stored_choice
from unrolled.native import executable_variants, library, native_library, native_status, native_variant

BUILT = "avx512bf16", "avx512", "avx2", "portable"
NEEDS_NATIVE = pytest.mark.skipif(
    not executable_variants(), reason="no C compiler was here when unrolled was installed"
)


@pytest.fixture
def pin(monkeypatch):
    return lambda value: monkeypatch.setenv("UNROLLED_NATIVE", value)


@pytest.fixture
def processor(monkeypatch):
    """Pretend to be a processor of a level, with these variants built; their code is never called."""

    def of(level, *built):
        libraries = {name: SimpleNamespace(_name=f"/x/{name}.so", lstm_processor_level=lambda: level) for name in built}
        monkeypatch.setattr(library, "_open", libraries.get)
        monkeypatch.setattr(library, "_chosen", library._chosen.__wrapped__)
        monkeypatch.delenv("UNROLLED_NATIVE", raising=False)

    return of


@pytest.mark.parametrize(("level", "expected"), [(3, BUILT), (2, BUILT[1:]), (1, BUILT[2:]), (0, BUILT[3:])])
def test_a_processor_executes_the_variants_of_its_level_and_below_and_takes_the_fastest(processor, level, expected):
    processor(level, *BUILT)
    assert executable_variants() == expected
    assert native_variant() == expected[0]
    assert native_status() == f"compiled C, {expected[0]}"


def test_a_variant_that_an_old_compiler_could_not_build_is_passed_over(processor):
    processor(3, "avx2", "portable")
    assert executable_variants() == ("avx2", "portable")
    assert native_variant() == "avx2"


def test_where_nothing_was_built_there_is_no_library(processor, pin):
    processor(3)
    assert (executable_variants(), native_library(), native_variant()) == ((), None, None)
    assert native_status().startswith("not built")
    pin("avx2")
    with pytest.raises(UserError, match="was not built when the package was installed; here it can be auto, off, or"):
        native_library()


@pytest.mark.parametrize(
    ("level", "built", "asked", "why"),
    [
        (3, BUILT, "sse9", "is 'sse9', which is not a variant of the C kernels"),
        (3, BUILT, "AVX2", "is 'AVX2', which is not a variant of the C kernels"),
        (1, BUILT, "avx512", "is 'avx512', a variant of the C kernels that this processor cannot execute"),
        (3, BUILT[2:], "avx512", "is 'avx512', a variant of the C kernels that was not built"),
    ],
)
def test_a_pin_that_cannot_be_had_is_refused_and_never_replaced(processor, pin, level, built, asked, why):
    processor(level, *built)
    here = ", ".join(("auto", "off", *executable_variants()))
    pin(asked)
    for use in (native_library, native_variant, native_status, available_kernels, select_kernel):
        with pytest.raises(UserError, match=why) as refused:
            use()
        assert str(refused.value).endswith(f"here it can be {here}, or unset.")


@pytest.mark.parametrize("value", ["auto", ""])
def test_auto_and_an_empty_value_are_as_if_nothing_were_set(value, pin, monkeypatch):
    monkeypatch.delenv("UNROLLED_NATIVE", raising=False)
    expected = native_library(), native_status()
    pin(value)
    assert (native_library(), native_status()) == expected


@NEEDS_NATIVE
@pytest.mark.parametrize("name", executable_variants())
def test_a_pinned_variant_is_the_one_in_use_and_is_said_to_be_pinned(name, pin):
    pin(name)
    assert native_library() is library._open(name)
    assert native_status() == f"compiled C, {name}, pinned by UNROLLED_NATIVE"
    assert "pinned by UNROLLED_NATIVE" in explain_kernels()["native"]


@NEEDS_NATIVE
def test_switched_off_there_is_no_native_kernel_and_the_reason_is_told(pin):
    pin("off")
    assert "native" not in available_kernels()
    assert select_kernel().kernel.name == "fused"
    assert explain_kernels()["native"] == "not available: switched off by UNROLLED_NATIVE=off"


@NEEDS_NATIVE
def test_a_measured_choice_holds_whether_its_variant_is_pinned_or_not(pin):
    pin("auto")
    free = stored_choice.circumstances()
    pin(native_variant())
    assert stored_choice.circumstances() == free
    pin("off")
    assert stored_choice.circumstances() != free
