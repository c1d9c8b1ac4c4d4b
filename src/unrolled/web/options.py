"""The options of `unrolled serve`, validated and turned into settings of the web application."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from unrolled.config import Precision
from unrolled.errors import UserError
from unrolled.serving.settings import LOOPBACK_HOSTS, HistoryChoice, WebSettings
from unrolled.web.security.hosts import read_host
from unrolled.web.security.prefix import read_prefix

LONGEST_DAYS = 36_500


def settings_from_options(
    *,
    prefix: str = "",
    behind_proxy: bool = False,
    allow_host: Sequence[str] = (),
    history: HistoryChoice = "auto",
    history_file: Path | None = None,
    keep_days: int = 90,
    models_at_start: int = 8,
    decoding: Precision = "float32",
) -> WebSettings:
    """Return the settings of a server; see `WebSettings`.

    Raises:
        UserError: an option is out of range or malformed.
    """
    if not 0 <= keep_days <= LONGEST_DAYS:
        raise UserError(f"--keep-days takes 0 (for ever) to {LONGEST_DAYS:,} days, not {keep_days}.")
    if models_at_start < 1:
        raise UserError(f"--models-at-start takes 1 or more, not {models_at_start}; the first model is always loaded.")
    return WebSettings(
        prefix=read_prefix(prefix),
        behind_proxy=behind_proxy,
        allowed_hosts=(*LOOPBACK_HOSTS, *map(read_host, allow_host)),
        history=history,
        history_file=history_file,
        keep_days=keep_days,
        models_at_start=models_at_start,
        decoding=decoding,
    )
