"""The notebook runs from its first cell to its last, and what is committed of it names no machine."""

import base64
import json
import re
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "stories.ipynb"
KERNEL = "the-interpreter-of-these-tests"
ABSOLUTE_PATH = re.compile(r"(?<![\w.~:/])/(?:home|root|tmp|work|var|usr|opt|mnt|Users|private)/|\b[A-Z]:\\\\?[A-Za-z]")


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """A kernel of the running interpreter, whatever else is installed, that reads and writes nothing of the user's."""
    spec = tmp_path / "jupyter" / "kernels" / KERNEL / "kernel.json"
    spec.parent.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec.write_text(json.dumps({"argv": argv, "display_name": "Python", "language": "python"}), encoding="utf-8")
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR", "UNROLLED_CACHE", "TMPDIR"):
        folder = tmp_path / name.lower()
        folder.mkdir()
        monkeypatch.setenv(name, str(folder))
    monkeypatch.setenv("UNROLLED_NOTEBOOK_QUICK", "1")
    monkeypatch.delenv("MPLBACKEND", raising=False)  # pictures go into the notebook
    return KERNEL


def test_every_cell_runs_and_the_results_are_there(kernel, tmp_path):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = NotebookClient(
        notebook, timeout=300, startup_timeout=120, kernel_name=kernel, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()  # raises where a cell fails

    printed = {cell.id: _printed(cell) for cell in notebook.cells if cell.cell_type == "code"}
    assert "warning" not in "".join(_printed(cell, "stderr") for cell in notebook.cells).lower()
    difference = re.search(r"LSTMCell equals torch\.nn\.LSTMCell: .* (\S+)$", printed["cell-torch"].strip())
    assert float(difference.group(1)) < 1e-12
    assert "fused kernel equals the unrolled cell" in printed["kernel-check"]
    assert len(re.findall(r"error \d", printed["gradient-check"])) == 3
    assert "Finished after 45 steps" in printed["training"]
    assert re.search(r"bits per character +\d\.\d", printed["measuring"])
    assert "inside a quotation" in printed["units-correlation"]

    with_picture = {cell.id for cell in notebook.cells for output in cell.get("outputs", []) if _is_picture(output)}
    assert with_picture == {cell.id for cell in notebook.cells if "plt.show()" in cell.source}
    assert len(with_picture) >= 10
    (table,) = (o.data["text/markdown"] for c in notebook.cells if c.id == "comparison" for o in c.outputs)
    assert table.count("\n") == 10  # two lines of heading, eight strategies, the real story
    assert not ABSOLUTE_PATH.search("".join(printed.values()))


def test_the_committed_notebook_is_valid_and_names_no_path_of_a_machine():
    source = NOTEBOOK.read_text("utf-8")
    notebook = nbformat.reads(source, as_version=nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)
    readable = re.sub(r'"image/png": "[^"]*"', "", source)  # base64 may hold any letters
    assert not ABSOLUTE_PATH.search(readable)


@pytest.mark.parametrize("path", ["/home/ada/x.txt", "in '/tmp/run'", "C:\\\\Users\\\\ada", '"/mnt/data"'])
def test_the_search_for_paths_finds_them(path):
    assert ABSOLUTE_PATH.search(path)
    assert not ABSOLUTE_PATH.search("https://example.org/home/page, unrolled/nn/layer.py, 5 nats/char")


def _printed(cell, stream="stdout"):
    return "".join(o.text for o in cell.get("outputs", []) if o.output_type == "stream" and o.name == stream)


def _is_picture(output):
    data = output.get("data", {})
    return "image/png" in data and base64.b64decode(data["image/png"]).startswith(b"\x89PNG")
