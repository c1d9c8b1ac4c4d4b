"""What the package exports."""

import subprocess
import sys


def test_the_package_itself_imports_nothing_heavy():
    code = "import sys, unrolled; print([n for n in ('torch', 'numpy', 'pydantic', 'matplotlib') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "[]"
