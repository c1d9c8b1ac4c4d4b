"""Limits of the web application, the values that its page starts with, and what stands between it and its visitors.

Every limit is a ceiling on what one visitor may ask for: characters of a prompt, tokens of a text, seconds of a
request, texts written at once. Numbers outside them are refused with a message, never clipped in silence.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "[::1]")
LARGEST_EXACT_INTEGER = 2**53 - 1  # beyond it a browser's JSON numbers are no longer exact

DecodingChoice = Literal["float32", "bfloat16"]
HistoryChoice = Literal["on", "off", "auto", "hidden"]


@dataclass(frozen=True)
class WebSettings:
    """What one visitor may ask for, which names the server answers to, where it stands, and what it remembers.

    `allowed_hosts` holds names as a Host header writes them, without the port. `any_address` also lets every literal IP
    address pass: safe against DNS rebinding, which needs a name, and what a server in a local network needs.

    `prefix` is the path that a proxy serves the page under (no slash at its end; empty: none). `behind_proxy` trusts
    the X-Forwarded headers of one proxy. `public` says that others than this machine's user come here, which
    `settings_for` finds out: errors then keep the paths of this machine to themselves.

    `generations_at_once` texts are generated at once; `queue_length` further requests wait up to `queue_seconds` for a
    slot, first come, first served, before they are refused with 503. The seconds of its Retry-After are random: from 1
    to `retry_after_seconds`, or to more where the queue is longer. 0 for `queue_length` refuses at once.

    A model that is loaded on demand is loaded before a slot is taken. A request waits up to `load_seconds` for it, then
    is refused with 503 while the load continues; at most `queue_length` requests wait for loads (and at least
    `generations_at_once`).

    `most_connections` are open at once (fewer where the process may not open twice as many files). Beyond them, the one
    that has waited longest without sending a whole request is closed for a new one. A request must be there in whole
    `body_seconds` after its first byte, its headers `header_seconds` after it (for the first request of a connection:
    after the connection was opened); an idle connection is closed after `idle_seconds`, and one whose client takes
    its answer at less than 4 KiB/s after `reader_seconds`. A client that is connected gets its answer even if it will
    not send anything more (a half-closed connection).

    `history` keeps prompts and texts in `history_file`: `on`, `off`, `hidden` (kept, but without pages to read them) or
    `auto`, which a server turns into `on` where only this machine can reach it. `keep_days` 0 keeps them for ever.
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
    max_tokens_together: int = 8_000  # n * max_tokens of one request to the JSON interface
    max_body_bytes: int = 256 * 1024  # 10,000 characters of 4 bytes, each written as %XX, and the rest of the form
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
    models_at_start: int = 8  # with more models than this, all but the first are loaded when they are first asked for
    models_at_once: int = 8  # of those loaded later; the one that was not asked for longest makes room
    decoding: DecodingChoice = "float32"  # precision of the weights that texts are written with
    allowed_hosts: tuple[str, ...] = LOOPBACK_HOSTS
    any_address: bool = False
    prefix: str = ""
    behind_proxy: bool = False
    public: bool = False
    history: HistoryChoice = "off"
    history_file: Path | None = None  # None: in the user's data folder
    keep_days: int = 90
    default_prompt: str = "Once upon a time there was a little girl who lived"

    @property
    def requests_waiting_for_loads(self) -> int:
        """The most requests that wait for models to be loaded, all models together."""
        return max(self.queue_length, self.generations_at_once)
