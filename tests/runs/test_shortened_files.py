"""A file that another program shortens while it is in use costs an answer at most, never the process (SIGBUS)."""

import json
import os
import subprocess
import sys

import pytest

from unrolled import load

USE = """
import json, os, sys
from pathlib import Path
from unrolled import load

run = Path(sys.argv[1])
model = load(run)
if sys.argv[2] == "remove":
    (run / "model.safetensors").unlink()
else:
    os.truncate(run / "model.safetensors", 0)
text = model.generate("The", seed=3, max_tokens=30).samples[0].text
print(json.dumps([model.score("The fox.").nats, text, model.info()]))
"""


@pytest.mark.parametrize("what", ["truncate", "remove"])
def test_a_loaded_model_does_not_depend_on_its_file(run, what):
    model = load(run)
    expected = [list(model.score("The fox.").nats), model.generate("The", seed=3, max_tokens=30).samples[0].text]
    about = model.info()
    done = subprocess.run(
        [sys.executable, "-c", USE, str(run), what], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [*expected, json.loads(json.dumps(about))]
    assert not (run / "model.safetensors").exists() or os.path.getsize(run / "model.safetensors") == 0
