"""The web page with the bundled model: `python app/app.py` serves it at http://127.0.0.1:5000.

It accepts the arguments of `unrolled serve`: runs to serve instead, `--port 5001`, `--help`.
"""

import importlib.util
import sys
from pathlib import Path

if importlib.util.find_spec("unrolled") is None:  # a clone without an installed package
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

try:
    import unrolled.web  # noqa: F401 (finds missing packages early)
    from unrolled.cli.main import main
except ModuleNotFoundError as error:
    sys.exit(f"Error: the package {error.name} is missing; run `make demo` once, then .venv/bin/python app/app.py.")

if __name__ == "__main__":
    sys.argv = ["unrolled", "serve", *sys.argv[1:]]
    main()
