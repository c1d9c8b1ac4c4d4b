"""The wheel contains everything that the package reads at run time, and can be built without a C compiler."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def build_wheel(folder: Path, **environment: str) -> tuple[zipfile.ZipFile, str]:
    """Build the wheel of this tree in a folder; return it and the output of the build."""
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return zipfile.ZipFile(next(folder.glob("*.whl"))), done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    pytest.importorskip("hatchling")
    return build_wheel(tmp_path_factory.mktemp("wheel"))[0]


def test_every_file_of_the_package_is_in_the_wheel(wheel):
    tracked = subprocess.run(["git", "ls-files", "src/unrolled"], cwd=ROOT, capture_output=True, text=True, check=False)
    if tracked.returncode:
        pytest.skip("this tree is not a git checkout")
    expected = {name.removeprefix("src/") for name in tracked.stdout.split()}
    assert expected
    assert expected <= set(wheel.namelist())


def test_the_shipped_model_is_in_the_wheel_without_its_checkpoints(wheel):
    names = {name for name in wheel.namelist() if name.startswith("unrolled/artefacts/stories/")}
    assert {Path(name).name for name in names} >= {"config.json", "tokenizer.json", "vocab.json", "model.safetensors"}
    assert not any("checkpoints" in name for name in names)


def test_nothing_of_the_tests_or_of_a_run_is_in_the_wheel(wheel):
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"unrolled"}


def test_without_a_compiler_the_build_goes_on_and_says_so(tmp_path):
    pytest.importorskip("hatchling")
    only_python = tmp_path / "bin"
    only_python.mkdir()
    _, printed = build_wheel(tmp_path / "out", PATH=str(only_python), CC="")
    assert "without its native kernel" in printed
    assert "no C compiler was found" in printed
