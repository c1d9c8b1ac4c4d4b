"""Many clients at once: how many are served, and how long that takes, on a server of this machine.

    python benchmarks/many_clients.py [--clients 64] [--tokens 200] [--rounds 3] [--json]

Starts `unrolled serve` on a free port of 127.0.0.1, with the bundled model. All clients send a request for a text in
the same moment; each waits for its answer and does not come back after a refusal.
"""

from __future__ import annotations

import argparse
import json
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from slow_clients import answered, milliseconds, serving

from unrolled.machine import machine_name


def burst(address: tuple[str, int], clients: int, tokens: int) -> list[tuple[int | None, float]]:
    """Send the requests of all clients at once; return status and seconds of each."""
    together = threading.Barrier(clients)

    def ask(seed: int) -> tuple[int | None, float]:
        together.wait(60)
        return answered(address, "POST", "/api/generate", {"max_tokens": tokens, "seed": seed})

    with ThreadPoolExecutor(clients) as pool:
        return list(pool.map(ask, range(clients)))


def measure(clients: int, tokens: int, rounds: int) -> dict[str, Any]:
    """Measure one client alone, then all at once, several times."""
    with serving() as address:
        alone = [answered(address, "POST", "/api/generate", {"max_tokens": tokens, "seed": 0}) for _ in range(10)]
        together = [answer for _ in range(rounds) for answer in burst(address, clients, tokens)]
    return {
        "machine": machine_name(),
        "clients": clients,
        "tokens": tokens,
        "statuses": dict(Counter(str(status) for status, _ in together)),
        "alone": milliseconds([latency for _, latency in alone]),
        "served": milliseconds([latency for status, latency in together if status == 200]),
    }


def main() -> None:
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    result = measure(min(asked.clients, 500), asked.tokens, min(asked.rounds, 20))
    if asked.json:
        print(json.dumps(result, indent=2))
        return
    print(f"{result['machine']}; {result['clients']} clients at once, {result['tokens']} tokens each")
    print("statuses: " + ", ".join(f"{count} x {status}" for status, count in result["statuses"].items()))
    for name in ("alone", "served"):
        print(f"{name:7} " + "  ".join(f"{key} {value}" for key, value in result[name].items()))


if __name__ == "__main__":
    main()
