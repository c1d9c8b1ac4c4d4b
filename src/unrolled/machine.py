"""This machine: its name in reports, and the folder of its cache.

The folder is `$UNROLLED_CACHE`, else `$XDG_CACHE_HOME/unrolled`, else `~/.cache/unrolled`.
"""

from __future__ import annotations

import os
import platform
from functools import cache
from pathlib import Path

PROCESSORS = Path("/proc/cpuinfo")  # Linux


@cache
def machine_name() -> str:
    """Return the processor's name and the number of cores."""
    try:
        lines = PROCESSORS.read_text("utf-8", "replace").splitlines()
    except OSError:  # not Linux
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def default_cache_folder() -> Path:
    """Return the cache folder, which may not exist yet.

    Raises:
        RuntimeError: this user has no home folder, and the environment does not name a folder either.
    """
    if own := os.environ.get("UNROLLED_CACHE"):
        return Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared).expanduser() if shared else Path.home() / ".cache") / "unrolled"
