"""Fixtures for all tests: a private cache, a small text, a small trained run, the command line, C variants."""

import io
import shutil
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

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
VARIANTS = pytest.StashKey()
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


def variants_to_test():
    """Return every variant of the C kernels that this processor executes, with one that stands in for AVX-512.

    "wide" has the grouping and the tiles of AVX-512 with other instructions; it takes the place of the real one on
    processors without it. Where no variant was built, tests run once.
    """
    from unrolled.native.library import executable_variants

    here = executable_variants()
    return [*here, "wide"] if here and "avx512" not in here else here or ("auto",)


def pytest_generate_tests(metafunc):
    """Run each test that uses `variant` once for each of them."""
    if "variant" in metafunc.fixturenames:
        variants = metafunc.config.stash.setdefault(VARIANTS, variants_to_test())
        metafunc.parametrize("variant", variants, indirect=True, scope="module")


def pytest_terminal_summary(terminalreporter, config):
    """Tell which variants the result stands for."""
    if VARIANTS in config.stash:
        terminalreporter.write_line(f"C kernels tested as {', '.join(config.stash[VARIANTS])}")


@pytest.fixture(scope="module")
def variant(request):
    """Pin a variant of the C kernels, as a user does; see `variants_to_test`."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "wide":
            patch.setattr(*request.getfixturevalue("with_wide"))
        patch.setenv("UNROLLED_NATIVE", request.param)
        yield request.param


@pytest.fixture(scope="session")
def with_wide(tmp_path_factory):
    """Build and open the variant "wide"; return what to patch so that it can be pinned."""
    from unrolled.native import build, library

    compiler, folder = build._compiler(), tmp_path_factory.mktemp("wide")
    if compiler is None:
        pytest.skip("there is no C compiler here to build the variant wide")
    sources = sorted((Path(build.__file__).parent / "csrc").glob("*.c"))
    build._compile(compiler, sources, folder / "wide.so", ["-DUNROLLED_WIDE"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(library, "LIBRARIES", folder)
        assert library._open("wide") is not None  # and is remembered from now on
    return library, "FASTEST_FIRST", (*library.FASTEST_FIRST, ("wide", 0))


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
