"""Fixtures for all tests: a private cache, a small text, a small trained run, and the command line."""

import io
import shutil
import signal
import sys
from dataclasses import dataclass

import hypothesis
import pytest

# On a busy machine, the duration of an example is meaningless.
hypothesis.settings.register_profile("no-clock", deadline=None)
hypothesis.settings.load_profile("no-clock")

STORY = "".join(
    f"On day {day} the fox met {who} by the {place}. \u201cIs it far?\u201d asked {who}.\n"
    for day, (who, place) in enumerate(
        [("a hen", "mill"), ("the owl", "pond"), ("two mice", "old oak"), ("a crow", "gate"), ("the moon", "well")] * 4
    )
)
TINY = {
    "model.embedding_size": 5,
    "model.hidden_size": 9,
    "data.valid_fraction": 0.2,
    "training.batch_size": 3,
    "training.window": 7,
    "training.steps": 24,
    "training.eval_interval": 5,
    "training.checkpoint_interval": 7,
    "training.eval_tokens": 200,
    "training.preview_tokens": 0,
    "training.threads": 1,
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Keep encoded texts out of the user's cache, and texts of a server out of the user's history."""
    monkeypatch.setenv("UNROLLED_CACHE", str(tmp_path / "unrolled-cache"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "unrolled-data"))


@pytest.fixture
def story(tmp_path):
    """A text of about 1,300 characters."""
    path = tmp_path / "story.txt"
    path.write_text(STORY, "utf-8")
    return path


@pytest.fixture(scope="session")
def trained_once(tmp_path_factory):
    """A small run, trained once. Tests that modify it use `run`."""
    from unrolled.training import train

    folder = tmp_path_factory.mktemp("trained")
    (folder / "story.txt").write_text(STORY, "utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNROLLED_CACHE", str(folder / "cache"))
        train(
            folder / "story.txt",
            folder / "fox",
            preset="stories",
            settings=TINY,
            command="unrolled train story.txt --out fox --preset stories",
        )
    return folder / "fox"


@pytest.fixture
def run(trained_once, tmp_path):
    """A copy of the small run, which a test may damage."""
    return shutil.copytree(trained_once, tmp_path / "fox")


@dataclass(frozen=True)
class Outcome:
    """The result of a command."""

    status: int
    out: str
    err: str


@pytest.fixture
def cli(capsys, monkeypatch):
    """Run `unrolled` with these arguments in this process."""

    def call(*arguments, stdin=b""):
        from unrolled.cli.main import run

        monkeypatch.setattr(sys, "argv", ["unrolled", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8"))
        capsys.readouterr()
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            with pytest.raises(SystemExit) as end:
                run()
        finally:  # the command leaves them changed, as its process would end
            for number, handler in handlers.items():
                signal.signal(number, handler)
        captured = capsys.readouterr()
        return Outcome(end.value.code, captured.out, captured.err)

    return call
