"""The web page with the shipped model: `python app/app.py`, then open http://127.0.0.1:5000 (`--port N` for another port)."""

import argparse
import importlib.util
import sys
from pathlib import Path

if importlib.util.find_spec("unrolled") is None:  # a clone that was not installed
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from unrolled.errors import UserError
from unrolled.web import serve_models

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Serve the shipped stories model on a web page.")
    parser.add_argument("--port", type=int, default=5000)
    try:
        serve_models([], port=parser.parse_args().port, on_ready=lambda url: print(f"Open {url} (Ctrl-C ends)", flush=True))
    except UserError as error:
        parser.exit(2, f"Error: {error}\n")
