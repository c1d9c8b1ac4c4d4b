"""Compile the C files in `csrc/` into a library for each kind of processor that it can be dispatched to.

Run by the package's build (`hatch_build.py`), which goes on without the native kernel where this fails. It imports
nothing of the package, so that a build environment needs no dependency.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import subprocess  # nosec B404 # commands are lists, without a shell
import sysconfig
from pathlib import Path

FLAGS = ["-std=c11", "-O3", "-fPIC", "-shared", "-ffp-contract=fast", "-fno-math-errno"]
AVX512 = ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx2", "-mfma", "-mprefer-vector-width=512"]
X86_VARIANTS = {
    "avx512bf16": [*AVX512, "-mavx512bf16"],
    "avx512": AVX512,
    "avx2": ["-mavx2", "-mfma"],
}
TIMEOUT_SECONDS = 120


def build_variants(folder: Path, target: Path) -> list[Path]:
    """Compile the C files of `folder` into the variants that the compiler knows, in `target`; return the libraries.

    Raises:
        RuntimeError: there is no C compiler, or it failed on portable C; says what it printed.
    """
    compiler = _compiler()
    if compiler is None:
        raise RuntimeError("no C compiler was found (looked for $CC, cc, gcc and clang)")
    sources = sorted(folder.glob("*.c"))
    target.mkdir(parents=True, exist_ok=True)
    built = [_compile(compiler, sources, target / "portable.so", [])]
    for name, flags in X86_VARIANTS.items() if platform.machine().lower() in ("x86_64", "amd64") else ():
        # an old compiler may not know the newest instructions; the others still serve
        with contextlib.suppress(RuntimeError):
            built.append(_compile(compiler, sources, target / f"{name}.so", flags))
    return built


def _compiler() -> list[str] | None:
    named = os.environ.get("CC") or ""
    for command in (named.split(), ["cc"], ["gcc"], ["clang"]):
        if command and shutil.which(command[0]):
            return command
    return None


def _compile(compiler: list[str], sources: list[Path], library: Path, flags: list[str]) -> Path:
    """Compile beside the library and move it there: a process that has the old one open keeps it whole."""
    unfinished = library.with_suffix(f".{os.getpid()}.so")
    command = [*compiler, *FLAGS, *flags, *map(str, sources), "-o", str(unfinished), "-lm"]
    # A list of arguments of our own, without a shell.
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)  # nosec B603
    if done.returncode:
        unfinished.unlink(missing_ok=True)
        raise RuntimeError(f"{compiler[0]} failed for {library.stem}: {done.stderr.strip()[-500:]}")
    return unfinished.replace(library)


def platform_tag() -> str:
    """Return the wheel platform tag of what was compiled here."""
    return sysconfig.get_platform().replace("-", "_").replace(".", "_")
