"""Errors become one sentence and an exit status, and `--help` imports nothing heavy."""

import os
import subprocess
import sys

import pytest

from unrolled.errors import UserError

LIGHT = """
import contextlib, sys
from unrolled.cli.main import main
sys.argv = ["unrolled", "--help"]
with contextlib.suppress(SystemExit):
    main()
print([name for name in ("torch", "numpy", "pydantic", "rich", "flask", "matplotlib") if name in sys.modules])
"""


def test_help_imports_nothing_heavy_and_names_every_command():
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
    for name in ("train", "evaluate", "score", "generate", "serve", "info", "data", "bench"):
        assert f"\n  {name} " in done.stdout


def test_every_command_explains_itself(cli):
    for name in ("train", "evaluate", "score", "generate", "serve", "info", "data", "bench"):
        done = cli(name, "--help")
        assert done.status == 0
        assert done.out.startswith(f"Usage: unrolled {name}")


def test_without_arguments_the_help_is_shown_on_standard_error(cli):
    for arguments in ((), ("data",)):
        done = cli(*arguments)
        assert (done.status, done.out) == (2, "")
        assert done.err.startswith("Usage: unrolled")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["trian"], "did you mean 'train'?"),
        (["xyz"], "known: train, evaluate"),
        (["train", "--prest", "x"], "--preset"),
        (["generate"], "Missing argument 'RUN'"),
        (["train", "--steps", "many"], "'many' is not a valid integer"),
        (["data", "gett"], "No such command 'gett'"),
        (["data", "get", "shakespear"], "did you mean tiny-shakespeare?"),
        (["data", "get", "builtin:stories"], "there already"),
        (["train", "--preset", "storys"], "did you mean stories"),
        (["train", "--set", "model.hiden_size=3"], "did you mean model.hidden_size"),
        (["train", "--set", "model.hidden_size"], "--set takes NAME=VALUE"),
        (["train", "--config", "none.toml"], "There is no file none.toml"),
        (["train", "--device", "gpu"], "There is no device named 'gpu'"),
        (["serve", "--port", "70000"], "70000"),
        (["info", "nowhere"], "There is no run at nowhere"),
    ],
)
def test_what_was_mistyped_is_one_sentence_with_the_way_out(cli, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    done = cli(*arguments)
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith("Error: ")
    assert words in done.err
    assert "Traceback" not in done.err
    assert os.listdir(tmp_path) == []


def test_a_gpu_that_is_not_there_is_named(cli, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.chdir(tmp_path)
    done = cli("train", "--device", "cuda")
    assert (done.status, done.out) == (2, "")
    assert "No CUDA GPU was found" in done.err


@pytest.mark.parametrize(
    ("problem", "status", "words"),
    [
        (UserError("Too \x1b[31mred."), 2, "Error: Too \ufffd[31mred."),
        (KeyboardInterrupt(), 130, "Stopped."),
        (PermissionError(13, "Permission denied", "/secret"), 2, "Error: /secret cannot be used (Permission denied)"),
    ],
)
def test_any_exception_of_a_command_becomes_a_sentence_and_a_status(cli, monkeypatch, problem, status, words):
    def fail():
        raise problem

    monkeypatch.setattr("unrolled.config.preset_names", fail)
    done = cli("train", "--list-settings")
    assert (done.status, done.out) == (status, "")
    assert words in done.err
    assert "Traceback" not in done.err


def test_a_reader_who_leaves_ends_the_command_quietly():
    for command in (["train", "--list-settings"], ["data", "list"]):
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run(
            [sys.executable, "-m", "unrolled", *command], stdout=writer, stderr=subprocess.PIPE, text=True, timeout=120
        )
        os.close(writer)
        assert (done.returncode, done.stderr) == (0, "")
