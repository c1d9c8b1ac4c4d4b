"""Settings of the web application: limits for clients, initial values of the page, hosts and proxies, the history.

Every limit bounds what one client may request: characters of a prompt, tokens of a sample, seconds of a request,
requests at once. Values beyond a limit are refused with a message, never clipped silently.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from unrolled.config import Precision

LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "[::1]")
LARGEST_EXACT_INTEGER = 2**53 - 1  # JSON numbers beyond it are inexact in a browser

HistoryChoice = Literal["on", "off", "auto", "hidden"]


@dataclass(frozen=True)
class WebSettings:
    """Limits, addresses, precision and history of a server.

    `allowed_hosts` holds names as in a Host header, without the port. `any_address` also accepts every literal IP
    address, which a server on a local network needs; it is safe, because DNS rebinding needs a name.

    `prefix` is the path under which a proxy serves the page, without a trailing slash; empty for none. `behind_proxy`
    trusts the X-Forwarded headers of one proxy. `public` means that others than the user of this machine can reach the
    server, which `settings_for` finds out; error messages then omit the paths of this machine.

    `generations_at_once` requests generate at once; up to `queue_length` further ones wait at most `queue_seconds` for
    a slot, first in, first out, and are then refused with 503. Its Retry-After is a random number of seconds from 1 to
    `retry_after_seconds`, or to more if the queue is long. A `queue_length` of 0 refuses immediately. A request that
    generates for more than `deadline_seconds` ends with the text written so far.

    A model that is loaded on demand is loaded before a slot is taken. A request waits up to `load_seconds` for it and
    is then refused with 503, while the load continues; at most `queue_length` requests wait for loads (and at least
    `generations_at_once`).

    At most `most_connections` are open at once (fewer if the process may not open twice as many files). Beyond that,
    the connection that has waited longest without sending a complete request is closed to admit a new one. A request
    must be complete `body_seconds` after its first byte, and its headers `header_seconds` after it (for the first
    request of a connection: after the connection was opened). A connection is closed after `idle_seconds` without a
    request, or if its client reads an answer at less than 4 KiB/s for `reader_seconds`. A half-closed connection, whose
    client will not send any more, still gets its answer.

    `history` stores prompts and samples in `history_file`: `on`, `off`, `hidden` (stored, but without pages to read
    them) or `auto`, which a server turns into `on` if only this machine can reach it. They are deleted after
    `keep_days`; 0 keeps them for ever.
    """

    max_prompt_characters: int = 10_000
    max_tokens: int = 2_000
    max_temperature: float = 5.0
    max_top_k: int = 10_000
    max_repetition_penalty: float = 10.0
    max_repetition_window: int = 10_000
    max_stops: int = 16
    max_stop_characters: int = 200
    max_samples: int = 16
    max_tokens_together: int = 8_000  # n * max_tokens of one request to the JSON API
    max_body_bytes: int = 256 * 1024  # 10,000 characters of 4 bytes, each byte sent as %XX, and the rest of the form
    generations_at_once: int = 4
    deadline_seconds: float = 60.0
    queue_length: int = 64
    queue_seconds: float = 10.0
    retry_after_seconds: int = 2
    load_seconds: float = 10.0
    most_connections: int = 256
    header_seconds: float = 10.0
    body_seconds: float = 30.0
    idle_seconds: float = 30.0
    reader_seconds: float = 30.0
    models_at_start: int = 8  # with more models than this, all but the first are loaded on first use
    models_at_once: int = 8  # of those loaded on first use; beyond it, the least recently used one is unloaded
    decoding: Precision = "float32"  # precision of the weights used for generation
    allowed_hosts: tuple[str, ...] = LOOPBACK_HOSTS
    any_address: bool = False
    prefix: str = ""
    behind_proxy: bool = False
    public: bool = False
    history: HistoryChoice = "off"
    history_file: Path | None = None  # None: in the user's data directory
    keep_days: int = 90
    default_prompt: str = "Once upon a time there was a little girl who lived"

    @property
    def requests_waiting_for_loads(self) -> int:
        """How many requests may wait for loads at once, over all models."""
        return max(self.queue_length, self.generations_at_once)
