"""Limits of the web application and the values that its page starts with.

Every limit is a ceiling on what one visitor may ask for: characters of a prompt, tokens of a text, seconds of a
request, texts written at once. Numbers outside them are refused with a message, never clipped in silence.
"""

from __future__ import annotations

from dataclasses import dataclass

LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "[::1]")
LARGEST_EXACT_INTEGER = 2**53 - 1  # beyond it a browser's JSON numbers are no longer exact


@dataclass(frozen=True)
class WebSettings:
    """What one visitor may ask for, and which names the server answers to.

    `allowed_hosts` holds names as a Host header writes them, without the port. `any_address` also lets every literal IP
    address pass: safe against DNS rebinding, which needs a name, and what a server in a local network needs.
    """

    max_prompt_characters: int = 10_000
    max_tokens: int = 2_000
    max_temperature: float = 5.0
    max_top_k: int = 10_000
    max_repetition_penalty: float = 10.0
    max_repetition_window: int = 10_000
    max_body_bytes: int = 256 * 1024  # 10,000 characters of 4 bytes, each written as %XX, and the rest of the form
    generations_at_once: int = 4
    deadline_seconds: float = 60.0
    retry_after_seconds: int = 2
    allowed_hosts: tuple[str, ...] = LOOPBACK_HOSTS
    any_address: bool = False
    default_prompt: str = "Once upon a time there was a little girl who lived"
