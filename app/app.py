"""The web page with the shipped model: `python app/app.py` opens http://127.0.0.1:5000 (`--port N`: another port)."""

import argparse
import importlib.util
import sys
from pathlib import Path

if importlib.util.find_spec("unrolled") is None:  # a clone that was not installed
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

try:
    from unrolled.errors import UserError
    from unrolled.web import serve_models
except ModuleNotFoundError as error:
    sys.exit(f"Error: the package {error.name} is missing; run `make demo` once, then .venv/bin/python app/app.py.")

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Serve the shipped stories model on a web page.")
    parser.add_argument("--port", type=int, default=5000)
    port = parser.parse_args().port
    try:
        serve_models([], port=port, on_ready=lambda url: print(f"Open {url} in a browser; Ctrl-C stops.", flush=True))
    except UserError as error:
        parser.exit(2, f"Error: {error}\n")
