"""Run notebooks from the first to the last cell and store their output.

    .venv/bin/python notebooks/execute.py notebooks/stories.ipynb
    UNROLLED_DIALOGUE_CSV=lotr_scripts.csv .venv/bin/python notebooks/execute.py notebooks/dialogue.ipynb

The output is for reading the notebook on a web page. Plots are reduced to few colours to keep the file small; execution
times and other data about this machine are removed.
"""

from __future__ import annotations

import base64
import io
import json
import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image

KERNEL = "this-interpreter"
COLOURS = 128
LONGEST_CELL_SECONDS = 3600


def main(paths: list[str]) -> None:
    """Execute each notebook in place."""
    with tempfile.TemporaryDirectory() as folder:
        _install_kernel(Path(folder))
        for path in map(Path, paths):
            notebook = nbformat.read(path, as_version=4)
            _execute(notebook, folder)
            text = json.dumps(_without_traces(notebook), ensure_ascii=False, indent=1, sort_keys=True)
            path.write_text(text + "\n", encoding="utf-8")
            print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")


def _install_kernel(folder: Path) -> None:
    """Install a kernel that uses the running interpreter."""
    spec = folder / "kernels" / KERNEL / "kernel.json"
    spec.parent.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec.write_text(json.dumps({"argv": argv, "display_name": "Python", "language": "python"}), encoding="utf-8")
    os.environ["JUPYTER_PATH"] = str(folder)


def _execute(notebook: nbformat.NotebookNode, folder: str) -> None:
    resources = {"metadata": {"path": folder}}
    client = NotebookClient(
        notebook, timeout=LONGEST_CELL_SECONDS, kernel_name=KERNEL, resources=resources, coalesce_streams=True
    )
    client.execute()


def _without_traces(notebook: nbformat.NotebookNode) -> dict:
    """Return the notebook in the form that is committed."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        cell.metadata = {}
        for output in cell.get("outputs", []):
            output.pop("metadata", None) if output.output_type == "stream" else output.update(metadata={})
            if "image/png" in output.get("data", {}):
                output.data["image/png"] = _of_few_colours(output.data["image/png"])
    return _split_lines(nbformat.from_dict(notebook))


def _of_few_colours(png: str) -> str:
    picture = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    smaller = io.BytesIO()
    picture.save(smaller, "PNG", optimize=True)
    return base64.b64encode(smaller.getvalue()).decode("ascii")


def _split_lines(notebook: nbformat.NotebookNode) -> dict:
    """Return the notebook with texts as lists of lines, which version control can compare."""
    return json.loads(nbformat.writes(notebook))


if __name__ == "__main__":
    main(sys.argv[1:])
