"""Which Host headers are answered: the defence against DNS rebinding.

A page of another site can point its own name at 127.0.0.1 and then read this server as if it were its own; its requests
carry that foreign name in the Host header, so a server that answers only to its own names gives nothing away.
"""

from __future__ import annotations

import ipaddress
import re

from unrolled.web.settings import WebSettings

_HOST = re.compile(r"(?P<name>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?", re.ASCII)


def host_is_allowed(header: str | None, settings: WebSettings) -> bool:
    """Say whether a request with this Host header (`name` or `name:port`) is answered; a missing one is not."""
    match = _HOST.fullmatch(header) if header is not None else None
    if match is None or int(match["port"] or 0) > 65_535:
        return False
    name = match["name"].lower().rstrip(".")
    return name in {host.lower() for host in settings.allowed_hosts} or (settings.any_address and _is_address(name))


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
