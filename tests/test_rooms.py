"""The order of the rooms: a module imports only from rows below its own, and rooms on one row leave each other alone.

Imports inside functions count: they cost a reader as much as any. So do imports for annotations alone
(`TYPE_CHECKING`): whoever must know a type to read a function depends on it. Beside the order, what no room may do at
all.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import unrolled

SOURCE = Path(unrolled.__file__).parent
ROWS = (
    ("errors", "units", "version", "machine", "strict_json", "atomic_write"),
    ("files", "native"),
    ("config", "shipped"),
    ("text", "sources"),
    ("data", "kernels"),
    ("nn",),
    ("decoding", "evaluation", "runs"),
    ("sampling", "importers"),
    ("training", "trained"),
    # `export` is above `trained`: what is exported is a trained model, with its tokenizer and its settings, not a bare
    # network. `bench` is above `export`: one of its baselines runs an exported graph.
    ("export", "serving"),
    ("web", "bench"),
    ("cli",),
)
ROW = {room: number for number, rooms in enumerate(ROWS) for room in rooms}
FRONT_DOORS = ("__init__", "__main__")  # the package itself and `python -m`: they open onto every room

FORBIDDEN_IMPORTS = {
    "pickle": "pickle runs code",
    "cPickle": "pickle runs code",
    "dill": "pickle runs code",
    "cloudpickle": "pickle runs code",
    "joblib": "pickle runs code",
    "shelve": "pickle runs code",
    "marshal": "marshal runs code",
    "torch._VF": "a ready-made LSTM",
    "torch.backends.cudnn": "a ready-made LSTM",
}
FORBIDDEN_CALLS = {"exec": "runs text as code", "eval": "runs text as code", "__import__": "hides an import"}
FORBIDDEN_NAMES = {
    "torch.load": "pickle runs code",
    "yaml.load": "yaml runs code",
    "yaml.unsafe_load": "yaml runs code",
    **{
        f"{home}.{name}": "a ready-made LSTM"
        for home in ("nn", "torch.nn")
        for name in ("LSTM", "LSTMCell", "GRU", "RNN")
    },
    **{f"torch.{name}": "a ready-made LSTM" for name in ("lstm", "lstm_cell", "gru", "_VF", "_cudnn_rnn")},
    "torch.backends.cudnn": "a ready-made LSTM",
}
# Where the rivals are measured.
PERMITTED = {
    "bench/rivals.py": {"nn.LSTM"},
    "bench/kernels.py": {"nn.LSTM"},
}
NETWORK = {
    *("urllib.request", "urllib.error", "urllib3", "http.client", "ftplib", "smtplib", "telnetlib", "xmlrpc"),
    *("requests", "httpx", "aiohttp", "websockets", "kagglehub", "huggingface_hub", "datasets"),
}
WEB_FRAMEWORKS = {"flask", "werkzeug", "waitress", "jinja2"}


def modules() -> dict[str, ast.Module]:
    """Return the syntax tree of every module by its path below the package."""
    return {path.relative_to(SOURCE).as_posix(): ast.parse(path.read_text("utf-8")) for path in SOURCE.rglob("*.py")}


def room_of(path: str) -> str:
    return path.split("/")[0].removesuffix(".py")


def imports(tree: ast.Module, path: str) -> Iterator[str]:
    """Yield the full name of all that a module imports, wherever in it the import stands."""
    package = ["unrolled", *path.split("/")[:-1]]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            home = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{home}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and dotted(node.func).endswith("import_module"):
            yield literal_start(node.args[0])


def literal_start(node: ast.expr) -> str:
    """Return the text of a literal, or the fixed start of an f-string."""
    node = node.values[0] if isinstance(node, ast.JoinedStr) else node
    return node.value if isinstance(node, ast.Constant) else "unrolled.?"


def dotted(node: ast.AST) -> str:
    """Return `a.b.c` for that expression, and nothing for any other."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (start := dotted(node.value)):
        return f"{start}.{node.attr}"
    return ""


def upward_imports(path: str, tree: ast.Module) -> list[str]:
    """Return what is wrong with a module's imports from other rooms."""
    room = room_of(path)
    problems = []
    for name in imports(tree, path):
        parts = name.split(".")
        if parts[0] != "unrolled" or room in FRONT_DOORS:
            continue
        other = parts[1] if len(parts) > 1 else ""
        if other not in ROW:
            problems.append(f"{path} imports {name}: import from the room itself")
        elif other != room and ROW[other] >= ROW[room]:
            problems.append(f"{path} (row {ROW[room]}) imports {name} (row {ROW[other]})")
    return problems


def forbidden(path: str, tree: ast.Module) -> list[str]:
    """Return the uses of what no room, or no room but one, may use."""
    problems = []
    for name in imports(tree, path):
        reasons = forbidden_to(path)
        problems += [f"{path} imports {name}: {reasons[known]}" for known in reasons if within(name, known)]
        if path != "data/downloads.py" and any(within(name, known) for known in NETWORK):
            problems.append(f"{path} imports {name}: only data/downloads.py uses the network")
        if room_of(path) != "web" and within(name, "socket"):
            problems.append(f"{path} imports {name}: only web/ listens")
        if room_of(path) != "web" and any(within(name, known) for known in WEB_FRAMEWORKS):
            problems.append(f"{path} imports {name}: only web/ knows a web framework")
    for node in ast.walk(tree):
        problems += [f"{path}:{node.lineno} {problem}" for problem in misuse(node, path)]
    return problems


def forbidden_to(path: str) -> dict[str, str]:
    """Return what a module may not import or name, and why."""
    names = {**FORBIDDEN_IMPORTS, **FORBIDDEN_NAMES}
    return {name: reason for name, reason in names.items() if name not in PERMITTED.get(path, ())}


def within(name: str, known: str) -> bool:
    return f"{name}.".startswith(f"{known}.")


def misuse(node: ast.AST, path: str) -> Iterator[str]:
    if isinstance(node, ast.Attribute) and dotted(node) in FORBIDDEN_NAMES and dotted(node) in forbidden_to(path):
        yield f"uses {dotted(node)}: {FORBIDDEN_NAMES[dotted(node)]}"
    if isinstance(node, ast.Attribute) and dotted(node) == "socket.create_connection":
        yield "calls out through a socket"
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        if node.func.id in FORBIDDEN_CALLS:
            yield f"calls {node.func.id}: {FORBIDDEN_CALLS[node.func.id]}"
        if node.func.id == "print" and room_of(path) != "cli":
            yield "prints: only cli/ does"
    if isinstance(node, ast.Call):
        for keyword in node.keywords:
            if keyword.arg == "allow_pickle" and not (
                isinstance(keyword.value, ast.Constant) and not keyword.value.value
            ):
                yield "allows pickle: pickle runs code"
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and "cudnn" in node.value.lower():
        yield "names cuDNN"


def without_docstrings(tree: ast.Module) -> ast.Module:
    """Return a tree whose docstrings are gone: they may name what the code must not use."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass(lineno=1)]
    return tree


def test_every_room_has_a_row():
    rooms = {room_of(path) for path in modules()} - set(FRONT_DOORS)
    assert rooms == set(ROW)


def test_modules_import_only_from_rows_below_their_own():
    assert [problem for path, tree in modules().items() for problem in upward_imports(path, tree)] == []


def test_no_room_loads_pickles_runs_text_prints_or_borrows_an_lstm():
    assert [problem for path, tree in modules().items() for problem in forbidden(path, without_docstrings(tree))] == []


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("kernels/fused.py", "from unrolled.nn import LanguageModel"),
        ("kernels/fused.py", "from unrolled import nn"),
        ("kernels/fused.py", "import unrolled.nn.model as m"),
        ("kernels/fused.py", "def late():\n    from unrolled.training.start import train"),
        ("kernels/fused.py", "if TYPE_CHECKING:\n    from unrolled.nn import State"),
        ("kernels/fused.py", "import importlib\nimportlib.import_module('unrolled.nn')"),
        ("kernels/fused.py", "from importlib import import_module\nimport_module(f'unrolled.nn.{name}')"),
        ("kernels/fused.py", "import importlib\nimportlib.import_module(name)"),
        ("kernels/fused.py", "from ..nn.state import State"),
        ("kernels/fused.py", "from .. import nn"),
        ("kernels/fused.py", "from unrolled.data import Corpus"),  # the same row
        ("trained.py", "from unrolled.training import train"),  # the same row
        ("training/start.py", "from unrolled.trained import load"),
        ("units.py", "from unrolled.errors import UserError"),
        ("config.py", "from unrolled import load"),  # through the front door
        ("web/pages/view.py", "import unrolled"),
    ],
)
def test_a_planted_upward_import_is_caught(path, code):
    assert len(upward_imports(path, ast.parse(code))) == 1


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("kernels/fused.py", "from unrolled.kernels.contract import Kernel"),
        ("kernels/fused.py", "from .contract import Kernel"),
        ("kernels/fused.py", "import torch.nn"),
        ("cli/train.py", "from unrolled.training import train"),
        ("__init__.py", "from unrolled.training import train"),
        ("data/corpus.py", "from unrolled.text import Tokenizer"),
    ],
)
def test_an_import_from_below_or_beside_is_allowed(path, code):
    assert upward_imports(path, ast.parse(code)) == []


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("runs/weights.py", "import pickle"),
        ("runs/weights.py", "def f():\n    from joblib import load"),
        ("runs/weights.py", "torch.load(path)"),
        ("importers/checkpoint_file.py", "import pickle"),
        ("importers/checkpoint_file.py", "torch.load(path, weights_only=True)"),
        ("importers/vocabulary_file.py", "import pickle"),
        ("importers/layouts.py", "import pickle"),
        ("importers/layouts.py", "torch.load(path)"),
        ("runs/weights.py", "from torch import load"),
        ("runs/weights.py", "numpy.load(path, allow_pickle=True)"),
        ("config.py", "exec(text)"),
        ("config.py", "x = eval(text)"),
        ("config.py", "yaml.load(text)"),
        ("training/trainer.py", "print('step')"),
        ("nn/layer.py", "nn.LSTM(3, 4)"),
        ("nn/layer.py", "from torch.nn import LSTMCell"),
        ("nn/layer.py", "torch._VF.lstm"),
        ("nn/layer.py", "torch.backends.cudnn.enabled = True"),
        ("nn/layer.py", "x = 'cudnn'"),
        ("sources/sources.py", "from urllib.request import urlopen"),
        ("sources/sources.py", "import urllib.request"),
        ("cli/data.py", "def f():\n    import kagglehub"),
        ("runs/folder.py", "import socket"),
        ("web/server.py", "socket.create_connection(('x', 1))"),
        ("serving/session.py", "from flask import request"),
        ("serving/session.py", "def late():\n    import waitress.server"),
    ],
)
def test_a_planted_misuse_is_caught(path, code):
    assert forbidden(path, without_docstrings(ast.parse(code)))


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("cli/show.py", "print('step')"),
        ("nn/cell.py", '"""Equals torch.nn.LSTM and cuDNN."""\nmodel.eval()'),
        ("data/downloads.py", "import urllib.request"),
        ("importers/pickles.py", "import pickletools"),
        ("web/server.py", "import socket"),
        ("sources/sources.py", "import urllib.parse"),
        ("nn/cell.py", "from unrolled.nn import LSTMCell\nLSTMCell(3, 4)"),
    ],
)
def test_the_rules_let_pass_what_is_meant_to_pass(path, code):
    assert forbidden(path, without_docstrings(ast.parse(code))) == []
