"""The notebooks run from the first to the last cell, and their committed copies reveal nothing about a machine."""

import base64
import json
import re
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
MAX_BYTES = 600_000
KERNEL = "the-interpreter-of-these-tests"
ABSOLUTE_PATH = re.compile(r"(?<![\w.~:/])/(?:home|root|tmp|work|var|usr|opt|mnt|Users|private)/|\b[A-Z]:\\\\?[A-Za-z]")


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """A kernel of the running interpreter that reads and writes no files of the user."""
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
    monkeypatch.delenv("MPLBACKEND", raising=False)  # plots are stored in the notebook
    return KERNEL


@pytest.fixture
def execute(kernel, tmp_path):
    """Run a notebook up to a cell; return it and the output of each code cell."""

    def run(name, last="next"):
        (path,) = [path for path in NOTEBOOKS if path.stem == name]
        notebook = nbformat.read(path, as_version=4)
        notebook.cells = notebook.cells[: [cell.id for cell in notebook.cells].index(last) + 1]
        resources = {"metadata": {"path": str(tmp_path)}}
        client = NotebookClient(notebook, timeout=300, startup_timeout=120, kernel_name=kernel, resources=resources)
        client.execute()  # raises if a cell fails
        assert "warning" not in "".join(_printed(cell, "stderr") for cell in notebook.cells).lower()
        printed = {cell.id: _printed(cell) for cell in notebook.cells if cell.cell_type == "code"}
        assert not ABSOLUTE_PATH.search("".join(printed.values()))
        with_picture = {cell.id for cell in notebook.cells for output in cell.get("outputs", []) if _is_picture(output)}
        assert with_picture == {cell.id for cell in notebook.cells if "plt.show()" in cell.source}
        return notebook, printed

    return run


def test_every_cell_of_the_stories_runs_and_the_results_are_there(execute):
    notebook, printed = execute("stories")
    difference = re.search(r"LSTMCell equals torch\.nn\.LSTMCell: .* (\S+)$", printed["cell-torch"].strip())
    assert float(difference.group(1)) < 1e-12
    assert "fused kernel equals the unrolled cell" in printed["kernel-check"]
    assert len(re.findall(r"error \d", printed["gradient-check"])) == 3
    assert "Finished after 45 steps" in printed["training"]
    assert re.search(r"bits per character +\d\.\d", printed["measuring"])
    assert "inside a quotation" in printed["units-correlation"]
    assert _table(notebook, "comparison").count("\n") == 10  # two header lines, eight strategies, the real story


def test_every_cell_of_the_dialogue_runs_without_a_csv_file(execute, monkeypatch):
    monkeypatch.delenv("UNROLLED_DIALOGUE_CSV", raising=False)
    notebook, printed = execute("dialogue")
    assert "slice.csv, column dialog: 150 records" in printed["data-read"]
    assert re.search(r"train +120 records.*\nvalid +15 records.*\ntest +15 records", printed["data-split"])
    assert "become <unk>" in printed["tokenizer"]
    assert printed["training"].count("validation perplexity") == 2
    compared = _table(notebook, "rivals")
    assert [line.split("|")[1].strip() for line in compared.splitlines()[-2:]] == ["`dialogue`", "`dialogue-best`"]
    assert "`regularization.dropout_kind`" in _table(notebook, "recipes")
    assert "quisquilia" in printed["samples"]
    assert len(re.findall(r"perplexity +\d", printed["unk-parts"])) == 4
    assert "unknown words spelled" in printed["unk-spelling"]
    assert re.search(r"The real line wins in \d+\.\d% of", printed["shuffled"])
    assert printed["compared"].count("Finished") == 2


def test_the_dialogue_reads_the_csv_file_that_the_environment_names(execute, tmp_path, monkeypatch):
    lines = [f'{k},ANN,"Fox {k}, is it far? No, {"no, " * (k % 4)}it is near."' for k in range(60)]
    (tmp_path / "talk.csv").write_text("\n".join(["id,who,line", *lines]) + "\n", "utf-8")
    monkeypatch.setenv("UNROLLED_DIALOGUE_CSV", str(tmp_path / "talk.csv"))
    monkeypatch.setenv("UNROLLED_DIALOGUE_COLUMN", "line")
    _, printed = execute("dialogue", last="tokenizer")
    assert "column line: 60 records" in printed["data-read"]
    assert "Fox 30, is it far?" in printed["data-read"]
    assert " 1:<eos> 2:no " in printed["tokenizer"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_committed_notebook_is_valid_small_and_names_no_path_of_a_machine(path):
    source = path.read_text("utf-8")
    notebook = nbformat.reads(source, as_version=nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)
    assert len(source) < MAX_BYTES
    readable = re.sub(r'"image/png": "[^"]*"', "", source)  # base64 may contain anything
    assert not ABSOLUTE_PATH.search(readable)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_a_committed_notebook_shows_is_of_one_whole_run(path):
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [cell.id for cell in cells if "plt.show()" in cell.source and not any(map(_is_picture, cell.outputs))]
    assert not [cell.id for cell in cells if _printed(cell, "stderr")]


@pytest.mark.parametrize("path", ["/home/ada/x.txt", "in '/tmp/run'", "C:\\\\Users\\\\ada", '"/mnt/data"'])
def test_the_search_for_paths_finds_them(path):
    assert ABSOLUTE_PATH.search(path)
    assert not ABSOLUTE_PATH.search("https://example.org/home/page, unrolled/nn/layer.py, 5 nats/char")


def _printed(cell, stream="stdout"):
    return "".join(o.text for o in cell.get("outputs", []) if o.output_type == "stream" and o.name == stream)


def _table(notebook, cell_id):
    (cell,) = (cell for cell in notebook.cells if cell.id == cell_id)
    (table,) = (o.data["text/markdown"] for o in cell.outputs if "text/markdown" in o.get("data", {}))
    return table


def _is_picture(output):
    data = output.get("data", {})
    return "image/png" in data and base64.b64decode(data["image/png"]).startswith(b"\x89PNG")
