"""Reading files in a process of its own that may take only so much memory, and measuring what each of them took.

A test that fails then costs that process an exit code, and the machine nothing.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

SCRIPT = """
import gc, json, resource, sys
from pathlib import Path
from unrolled.errors import UserError
from unrolled.importers.checkpoint_file import read_checkpoint
from unrolled.importers.checkpoint_to_run import import_checkpoint
from unrolled.importers.vocabulary_file import read_vocabulary

def status(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key + ":")) * 1024

def took(use, path):
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the highest amount is what there is now
    before, said = status("VmHWM"), ""
    try:
        uses[use](path)
    except UserError as error:
        said = str(error)
    except (MemoryError, RuntimeError) as error:
        said = f"{type(error).__name__}: {error}"
    return {"said": said, "taken_bytes": status("VmHWM") - before}

uses = {
    "checkpoint": read_checkpoint,
    "vocabulary": read_vocabulary,
    "import": lambda path: import_checkpoint(path, path.parent / "run"),
}
jobs, most_bytes = json.loads(sys.argv[1]), int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_AS, (status("VmSize") + most_bytes,) * 2)
print(json.dumps({name: took(use, Path(path)) for name, (use, path) in jobs.items()}))
"""
MOST_BYTES = 2 * 2**30


@dataclass(frozen=True)
class Confined:
    """What the user was told, nothing where all was well, and how much memory it took."""

    said: str
    taken_bytes: int


def confined(jobs: Mapping[str, tuple[str, Path]]) -> dict[str, Confined]:
    """Read files, each as a `checkpoint` or a `vocabulary`, or `import` them: name -> (use, path)."""
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("memory is measured in /proc, as Linux has it")
    arguments = [json.dumps({name: (use, str(path)) for name, (use, path) in jobs.items()}), str(MOST_BYTES)]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return {name: Confined(**found) for name, found in json.loads(done.stdout).items()}
