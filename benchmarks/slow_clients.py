"""What a good client notices of a thousand hostile ones: latencies of a server on this machine, with and without them.

    python benchmarks/slow_clients.py [--connections 1000] [--seconds 15] [--reconnects 3] [--json]

Starts `unrolled serve` on a free port of 127.0.0.1, with the bundled model. A separate process opens connections of
four kinds in equal parts: silent ones, ones that send a byte of a header every two seconds, the same for the body of a
request, and ones that request eight pages and read nothing. What the server closes is opened again, up to a number of
times. A good client asks for the page, the health check and a text of 50 tokens every 100 ms, each time with a
connection of its own; what is not answered within 10 s counts as failed. Count and time of everything are bounded.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import re
import socket
import statistics
import subprocess  # nosec B404 # commands are lists, without a shell
import sys
import time
import urllib.parse
from collections.abc import Iterator
from typing import Any

from unrolled.machine import machine_name

PATIENCE_SECONDS = 10.0
DRIP_SECONDS = 2.0
GET = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
POST = (
    b"POST /api/generate HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
)
KINDS = {  # what is sent at once, and what drips
    "silent": (b"", b""),
    "header": (b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ", b"x"),
    "body": (POST, b" "),
    "reader": (GET * 8, b""),
}
REQUESTS = (("GET", "/", None), ("GET", "/health", None), ("POST", "/api/generate", {"max_tokens": 50, "seed": 1}))


@contextlib.contextmanager
def serving() -> Iterator[tuple[str, int]]:
    """Start a server and give its address; it ends with the block."""
    command = [sys.executable, "-m", "unrolled", "serve", "--port", "0", "--history", "off"]
    # A list of arguments of our own, without a shell.
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as server:  # nosec B603
        try:
            for line in server.stdout:
                if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                    break
            else:
                sys.exit("The server did not start.")
            address = urllib.parse.urlsplit(found[0])
            yield address.hostname, address.port
        finally:
            server.terminate()
            server.communicate(timeout=60)


Answer = tuple[int | None, float]  # the status, None where no answer came in time, and the seconds


def answered(address: tuple[str, int], method: str, path: str, fields: dict[str, Any] | None) -> Answer:
    """Send one request over its own connection; return its status and how long the answer took."""
    body = None if fields is None else json.dumps(fields)
    headers = {} if body is None else {"Content-Type": "application/json"}
    start = time.perf_counter()
    connection = http.client.HTTPConnection(*address, timeout=PATIENCE_SECONDS)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        response.read()
        status = response.status
    except (OSError, http.client.HTTPException):
        status = None
    finally:
        connection.close()
    return status, time.perf_counter() - start


def good_client(address: tuple[str, int], seconds: float) -> dict[str, Any]:
    """Send every kind of request ten times a second; return latencies by path."""
    taken: dict[str, list[float]] = {path: [] for _, path, _ in REQUESTS}
    failed, end = 0, time.monotonic() + seconds
    while (now := time.monotonic()) < end:
        for method, path, fields in REQUESTS:
            status, latency = answered(address, method, path, fields)
            failed += status != 200
            taken[path].append(latency)
        time.sleep(max(0.0, now + 0.1 - time.monotonic()))
    return {"failed": failed} | {path: milliseconds(latencies) for path, latencies in taken.items()}


def milliseconds(latencies: list[float]) -> dict[str, float]:
    """Return how many latencies there are, their median, 95th percentile and maximum."""
    ordered = sorted(1000 * latency for latency in latencies)
    figures = (statistics.median(ordered), ordered[int(0.95 * (len(ordered) - 1))], ordered[-1])
    names = ("median_ms", "p95_ms", "max_ms")
    return {"requests": len(ordered)} | {name: round(value, 1) for name, value in zip(names, figures, strict=True)}


class Hostile:
    """One hostile connection: opened without waiting, since a server may not accept it."""

    def __init__(self, address: tuple[str, int], kind: tuple[bytes, bytes]) -> None:
        self.address, (self.start, self.drip) = address, kind
        self.open()

    def open(self) -> None:
        """Open the connection, with a small receive buffer, and send the start of a request."""
        self.begun, self.socket = False, socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        self.socket.setblocking(False)
        self.socket.connect_ex(self.address)
        self.goes_on()

    def goes_on(self) -> bool:
        """Send the start or the next byte; return whether the connection is still open."""
        try:
            if self.start or self.drip:
                self.socket.send(self.drip if self.begun else self.start)
            elif not self.socket.recv(1):
                return False
            self.begun = True
        except BlockingIOError:
            return True
        except OSError:
            return False
        return self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0


def hostile_client(address: tuple[str, int], connections: int, seconds: float, reconnects: int) -> None:
    """Hold connections open that never finish; print `ready` once all are open, and then how many were closed."""
    kinds = list(KINDS.values())
    held = [Hostile(address, kinds[number % len(kinds)]) for number in range(connections)]
    print("ready", flush=True)
    closed, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        for one in held:
            if not one.goes_on() and closed < connections * reconnects:
                one.socket.close()
                one.open()
                closed += 1
        print(closed, flush=True)
        time.sleep(DRIP_SECONDS)


def measure(connections: int, seconds: float, reconnects: int) -> dict[str, Any]:
    """Measure the good client alone, then beside the hostile one."""
    with serving() as address:
        alone = good_client(address, seconds)
        hostile = [sys.executable, __file__, "--hostile-to", str(address[1])]
        for name, value in (
            ("connections", connections),
            ("seconds", seconds + 2 * PATIENCE_SECONDS),
            ("reconnects", reconnects),
        ):
            hostile += [f"--{name}", str(value)]
        # A list of arguments of our own, without a shell.
        with subprocess.Popen(hostile, stdout=subprocess.PIPE, text=True, env=os.environ) as attack:  # nosec B603
            attack.stdout.readline()
            beside = good_client(address, seconds)
            attack.terminate()
            closed = attack.communicate(timeout=60)[0].split()
        after = good_client(address, 1)
    return {
        "machine": machine_name(),
        "hostile_connections": connections,
        "reopened": int(closed[-1]) if closed else 0,
        "alone": alone,
        "beside": beside,
        "after": after,
    }


def main() -> None:
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--reconnects", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--hostile-to", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    connections, seconds = min(asked.connections, 2000), min(asked.seconds, 80)
    if asked.hostile_to is not None:
        hostile_client(("127.0.0.1", asked.hostile_to), connections, seconds, min(asked.reconnects, 10))
        return
    result = measure(connections, seconds, asked.reconnects)
    if asked.json:
        print(json.dumps(result, indent=2))
        return
    print(f"{result['machine']}; {connections} hostile connections, {result['reopened']} opened again")
    for when in ("alone", "beside", "after"):
        print(f"{when}: {result[when].pop('failed')} failed")
        for path, figures in result[when].items():
            print(f"  {path:14} " + "  ".join(f"{name} {value}" for name, value in figures.items()))


if __name__ == "__main__":
    main()
