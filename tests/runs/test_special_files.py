"""A run from elsewhere may hold pipes, devices and folders where files belong; its reader refuses them at once.

A reader that is wrong waits for ever, or reads without end, so every command runs in a process that can be ended.
"""

import json
import os
import subprocess
import sys

import pytest

from unrolled.errors import UserError
from unrolled.runs import run_lock

pytestmark = pytest.mark.skipif(os.name != "posix", reason="special files of POSIX systems")

LIMIT_SECONDS = 100  # for all the commands of one process; they take a few seconds
READ_BY = {  # the commands that read each file of a run; the others do not depend on it
    "config.json": {"info", "generate", "evaluate", "resume", "init-from"},
    "tokenizer.json": {"info", "generate", "evaluate", "resume", "init-from"},
    "vocab.json": {"info", "generate", "evaluate", "resume", "init-from"},
    "model.safetensors": {"info", "generate", "evaluate", "init-from"},
    "metrics.jsonl": {"info", "resume"},
    "checkpoints/last.safetensors": {"resume"},
    "README.md": set(),
    "loss.png": set(),
}
RUN_COMMANDS = """
import contextlib, io, json, os, resource, shutil, socket, sys
from pathlib import Path
from unrolled.cli.main import main

original, kind, read_by = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
resource.setrlimit(resource.RLIMIT_AS, (2**33, 2**33))
COMMANDS = {
    "info": ["info", "RUN"],
    "generate": ["generate", "RUN", "The", "--seed", "1", "--max-tokens", "5"],
    "evaluate": ["evaluate", "RUN", "../story.txt"],
    "resume": ["train", "--resume", "RUN", "--steps", "25", "--quiet"],
    "init-from": ["train", "../story.txt", "--init-from", "RUN", "--out", "new", "--steps", "1", "--quiet"],
}

def put(path):
    path.unlink()
    if kind == "named pipe":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        os.chdir(path.parent)
        socket.socket(socket.AF_UNIX).bind(path.name)

def outcome(arguments):
    sys.argv = ["unrolled", *arguments]
    said = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
        try:
            main()
        except SystemExit as end:
            return end.code, said.getvalue()

for number, name in enumerate(read_by):
    for command, arguments in COMMANDS.items():
        place = original.parent / f"{number}-{command}"
        shutil.copytree(original, place / "RUN")
        put(place / "RUN" / name)
        os.chdir(place)
        print(json.dumps([name, command, *outcome(arguments)]), flush=True)
"""


@pytest.mark.parametrize("kind", ["named pipe", "device", "directory", "socket"])
def test_every_command_refuses_a_special_file_that_it_would_read_and_runs_without_the_others(
    run, kind, trained_once, monkeypatch
):
    monkeypatch.setenv("UNROLLED_CACHE", str(trained_once.parent / "cache"))
    (run.parent / "story.txt").write_bytes((trained_once.parent / "story.txt").read_bytes())
    arguments = [sys.executable, "-W", "ignore::ResourceWarning", "-c", RUN_COMMANDS, str(run), kind]
    done = subprocess.run(
        [*arguments, json.dumps({name: sorted(commands) for name, commands in READ_BY.items()})],
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )
    outcomes = {tuple(line[:2]): line[2:] for line in map(json.loads, done.stdout.splitlines())}
    assert len(outcomes) == 5 * len(READ_BY), done.stderr
    for (name, command), (status, said) in outcomes.items():
        if command in READ_BY[name]:
            assert status == 2, (name, command, said)
            assert said.startswith("Error: ")
            assert said.count("\n") == 1
            assert name in said
        elif kind == "directory" and status == 2:  # one that is written cannot take the place of a folder
            assert command == "resume"
            assert "cannot be written" in said
        else:
            assert status == 0, (name, command, said)


@pytest.mark.parametrize("name", ["fifo", "file"])
def test_no_lock_is_waited_for_where_a_run_is_not_a_folder(tmp_path, name):
    path = tmp_path / name
    path.touch() if name == "file" else os.mkfifo(path)
    with pytest.raises(UserError, match="cannot be locked"), run_lock(path):
        pass
