"""The C code under sanitizers: random sizes, exact buffers, rows split between threads; see `native_fuzz.c`.

Sanitizers are the compiler's: where it has none, the tests say so and are skipped.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from unrolled.native import build, library

SOURCES = Path(build.__file__).parent / "csrc"
DRIVER = Path(__file__).with_name("native_fuzz.c")
# "wide": the grouping of AVX-512 with the instructions of AVX2, for processors without AVX-512
VARIANTS = {"portable": [], **build.X86_VARIANTS, "wide": ["-DUNROLLED_WIDE", "-mavx2", "-mfma"]}
ROUNDS = 25
# an own name for the flags of the build that do not concern optimisation
FLAGS = ["-std=gnu11", "-O1", "-g", "-ffp-contract=fast", "-fno-math-errno", "-fno-sanitize-recover=all", "-pthread"]


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}  # leaks need a debugger's rights
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def compiled(sanitizers: str, variant: str, folder: Path, sources: list[Path]) -> Path:
    """Build a program, or skip where the compiler or the processor cannot."""
    compiler = build._compiler()
    if compiler is None:
        pytest.skip("there is no C compiler here")
    program = folder / "program"
    flags = [*FLAGS, f"-fsanitize={sanitizers}", *VARIANTS[variant], f"-I{SOURCES}", f"-I{DRIVER.parent}"]
    done = run([*compiler, *flags, *map(str, sources), "-o", str(program), "-lm"])
    if done.returncode and sources[0] != DRIVER:
        pytest.skip(f"{compiler[0]} cannot build with -fsanitize={sanitizers}: {done.stderr[-200:]}")
    assert not done.returncode, done.stderr[-4000:]
    return program


def skip_where_sanitizers_do_not_run(sanitizers: str, folder: Path) -> None:
    trivial = folder / "trivial.c"
    trivial.write_text("int main(void) { return 0; }\n")
    done = run([str(compiled(sanitizers, "portable", folder, [trivial]))])
    if done.returncode:
        pytest.skip(f"a program with -fsanitize={sanitizers} does not start here: {done.stderr[-200:]}")


@pytest.mark.parametrize("built_for", list(VARIANTS))
@pytest.mark.parametrize("sanitizers", ["address,undefined", "thread"])
def test_random_sizes_touch_no_foreign_memory_overflow_nothing_and_race_with_no_thread(sanitizers, built_for, tmp_path):
    portable = library._open("portable")
    needed = dict(library.FASTEST_FIRST).get(built_for, 1 if built_for == "wide" else 0)
    if portable is None or portable.lstm_processor_level() < needed:
        pytest.skip(f"this processor does not run {built_for}")
    skip_where_sanitizers_do_not_run(sanitizers, tmp_path)
    sources = [DRIVER, *sorted(SOURCES.glob("*.c"))]
    done = run([str(compiled(sanitizers, built_for, tmp_path, sources)), "7", str(ROUNDS)])
    assert (done.returncode, done.stdout) == (0, "nothing found\n"), done.stderr[-4000:]
