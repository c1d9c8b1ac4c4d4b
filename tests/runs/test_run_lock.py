"""Two processes never train one run, and a dead one leaves nothing locked."""

import subprocess
import sys

import pytest

from unrolled.errors import UserError
from unrolled.runs import run_lock

pytest.importorskip("fcntl", reason="this system has no lock for directories")

HOLD = """
import sys
from pathlib import Path
from unrolled.runs import run_lock
with run_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_run_that_another_process_trains_is_refused_until_that_one_is_dead(holder, tmp_path):
    with pytest.raises(UserError, match="Another process is training"), run_lock(tmp_path):
        pass
    holder.kill()  # it never came to unlock anything
    holder.wait()
    with run_lock(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_the_lock_ends_with_the_block_however_that_ends(tmp_path):
    with pytest.raises(ZeroDivisionError), run_lock(tmp_path):
        raise ZeroDivisionError
    with run_lock(tmp_path):
        pass
