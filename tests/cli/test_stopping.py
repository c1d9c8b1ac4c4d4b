"""Ctrl-C once and twice during `unrolled train`, in a pseudo-terminal, and SIGTERM."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import STORY, TINY
from unrolled.cli.typed import start_over_command
from unrolled.runs import read_checkpoint
from unrolled.training import resume

pexpect = pytest.importorskip("pexpect", exc_type=ImportError)

SAVING = "Saving; press Ctrl-C again to stop at once."
ENDLESS = {"training.steps": 10**6, "training.eval_interval": 10**6, "training.checkpoint_interval": 10**6}
EVALUATING = {**ENDLESS, "training.eval_interval": 1, "training.eval_tokens": 10**6}
PREVIEWING = {**ENDLESS, "training.eval_interval": 1, "training.preview_tokens": 10_000}
SAVING_ALWAYS = {**ENDLESS, "training.checkpoint_interval": 1, "model.hidden_size": 300}
# what is trained, and the words after which most of the time is spent in that phase
PHASES = {
    "step": (ENDLESS, "training, at most"),
    "evaluation": (EVALUATING, "training, at most"),
    "preview": (PREVIEWING, r"step +1 "),
    "checkpoint": (SAVING_ALWAYS, "training, at most"),
    "picture": ({"training.steps": 1}, r"step +1 "),
}


@pytest.fixture
def terminal(story, tmp_path):
    """Run `unrolled train` in a pseudo-terminal."""
    story.write_text(STORY * 40, "utf-8")  # 50,000 characters, so that an evaluation takes a while
    opened = []

    def call(*arguments, settings=TINY, source=story):
        changed = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
        words = ["-m", "unrolled", "train", *([source] if source else []), *arguments, *changed]
        environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "200"}
        child = pexpect.spawn(
            sys.executable, list(map(str, words)), env=environment, encoding="utf-8", timeout=60, dimensions=(40, 200)
        )
        opened.append(child)
        return child

    yield call
    for child in opened:
        child.close(force=True)


def ended(child):
    """Wait for the end; return the exit status and what was shown."""
    shown = child.before or ""
    child.expect(pexpect.EOF)
    child.close()
    return child.exitstatus, (shown + child.before).replace("^C", "").rstrip()  # the terminal echoes the key


def assert_plain(shown):
    """No traceback, no fatal error, and the terminal has its cursor back."""
    assert not re.search("Traceback|Fatal|Exception ignored|terminate called|Error", shown), shown
    assert shown.rfind("\x1b[?25l") <= shown.rfind("\x1b[?25h")


def wait_for(path):
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("phase", "gap_seconds"),
    [("step", 0.5), ("evaluation", 0.05), ("preview", 0.1), ("checkpoint", 0.05), ("picture", 0.2)],
)
def test_ctrl_c_twice_ends_with_130_and_the_checkpoint_is_whole(terminal, tmp_path, phase, gap_seconds):
    settings, words = PHASES[phase]
    child = terminal("--out", tmp_path / "run", settings={**TINY, **settings})
    child.expect(words)
    child.sendintr()
    time.sleep(gap_seconds)  # a person's fingers, not a wait for anything
    if child.isalive():
        child.sendintr()
    status, shown = ended(child)
    assert_plain(shown)
    assert status == 130, shown
    assert f"Continue with: unrolled train --resume {tmp_path / 'run'}" in shown.splitlines()[-1]
    step = read_checkpoint(tmp_path / "run" / "checkpoints" / "last.safetensors").counters["training"]["step"]
    assert resume(tmp_path / "run", steps=step + 1).step == step + 1
    assert not list((tmp_path / "run").rglob(".*.part"))


def test_ctrl_c_once_saves_and_tells_how_to_continue(terminal, tmp_path):
    child = terminal("--out", tmp_path / "run", "--quiet", settings={**TINY, **EVALUATING})
    wait_for(tmp_path / "run" / "checkpoints" / "last.safetensors")
    child.sendintr()
    status, shown = ended(child)
    assert_plain(shown)
    assert (status, SAVING in shown) == (130, True)
    files = next(line for line in shown.splitlines() if "weights, vocabulary" in line)
    for name in ("metrics.jsonl", "loss.png"):
        assert (name in files) == (tmp_path / "run" / name).exists()
    assert f"Continue with: unrolled train --resume {tmp_path / 'run'}" in shown.splitlines()[-1]


def test_ctrl_c_while_the_text_is_read_is_one_line(terminal, tmp_path):
    child = terminal("-", "--out", tmp_path / "run", source=None)
    child.sendline("On day 1 the fox met a hen.")
    child.expect("fox met")
    wait_for(tmp_path / "unrolled-cache" / "corpora")  # where the text goes that is being read
    child.sendintr()
    status, shown = ended(child)
    assert_plain(shown)
    assert status == 130, shown
    assert f"Stopped; nothing was saved. Start over with: unrolled train - --out {tmp_path / 'run'}" in shown
    assert "--force" not in shown.splitlines()[-1]
    assert not (tmp_path / "run").exists()
    assert not list(tmp_path.rglob(".building-*"))


TWO_SIGNALS = """
import os, signal, sys
from unrolled.training import run_files
def begin(path, checkpoint):
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGINT)
    signal.pause()
run_files.write_checkpoint = begin
sys.argv = ["unrolled", *sys.argv[1:]]
from unrolled.cli.main import main
main()
"""


def test_twice_before_the_first_checkpoint_gives_a_command_to_start_over_that_works(story, tmp_path, cli):
    small = [part for name, value in TINY.items() for part in ("--set", f"{name}={value}")]
    words = ["train", str(story), "--out", str(tmp_path / "a run"), *small, "--quiet"]
    done = subprocess.run([sys.executable, "-c", TWO_SIGNALS, *words], capture_output=True, text=True, timeout=120)
    assert done.returncode == 130, done.stderr
    last = done.stderr.splitlines()[-1]
    assert_plain(done.stderr)
    assert last.startswith("Stopped; nothing was saved. Start over with: unrolled train --force ")
    import shlex

    assert cli(*shlex.split(last.partition("unrolled ")[2])).status == 0


def test_the_command_to_start_over_replaces_only_a_run_that_was_begun(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["unrolled", "train", "my text.txt", "--quiet"])
    assert start_over_command("runs/my text", begun=False) == "unrolled train 'my text.txt' --quiet"
    again = "unrolled train --out 'runs/my text' --force 'my text.txt' --quiet"
    assert start_over_command("runs/my text", begun=True) == again
    monkeypatch.setattr(sys, "argv", ["unrolled", "train", "a.txt", "--out=b", "--force"])
    assert start_over_command("b", begun=True) == "unrolled train a.txt --out=b --force"


IN_C = """
import ctypes, os, signal, sys, threading, time
from unrolled.cli.stopping import Stopping
def twice():
    for _ in range(2):
        time.sleep(0.05)
        os.kill(os.getpid(), int(sys.argv[1]))
mutex, lock = ctypes.create_string_buffer(256), ctypes.CDLL(None).pthread_mutex_lock
with Stopping("unrolled train --resume r") as stopping, stopping.while_training():
    threading.Thread(target=twice, daemon=True).start()
    lock(mutex)
    lock(mutex)  # waits for ever
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_the_process_even_while_it_is_in_c_code(number):
    done = subprocess.run([sys.executable, "-c", IN_C, str(int(number))], capture_output=True, text=True, timeout=60)
    assert done.returncode == 130, done.stderr
    assert done.stderr.splitlines() == [
        SAVING,
        "Stopped; what was saved last is whole. Continue with: unrolled train --resume r",
    ]
