"""Writing text, one stream and many, beside the seed's way; see `unrolled.bench.generation`.

python benchmarks/generation.py [--json] [--repetitions 15] [--threads 1]
"""

from __future__ import annotations

from side_by_side import run

from unrolled.bench.generation import measure, show

if __name__ == "__main__":
    run(__doc__, lambda repetitions: measure("stories", repetitions), lambda result: print("\n".join(show(result))))
