"""Protection against DNS rebinding and against forms that other sites submit.

Another site can point its own name at 127.0.0.1 and then read this server as if it were part of that site. Its requests
carry the foreign name in the Host header, so a server that accepts only its own names reveals nothing. Behind a proxy,
both the forwarded name and the name that the proxy itself uses must be ours: a page could forge the former alone.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from unrolled.errors import UserError
from unrolled.serving.settings import WebSettings

_HOST = re.compile(r"(?P<name>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?", re.ASCII)
OWN_SITES = ("same-origin", "none")


def hosts_of(environ: Mapping[str, Any]) -> list[str | None]:
    """Return the host names of a request: the client's, and the one used by the proxy, if any."""
    before = environ.get("werkzeug.proxy_fix.orig", {}).get("HTTP_HOST", environ.get("HTTP_HOST"))
    return [environ.get("HTTP_HOST"), before]


def host_is_allowed(header: str | None, settings: WebSettings) -> bool:
    """Return whether a request with this Host header (`name` or `name:port`) is answered; a missing one is not."""
    match = _HOST.fullmatch(header) if header is not None else None
    if match is None or int(match["port"] or 0) > 65_535:
        return False
    name = match["name"].lower().rstrip(".")
    return name in {host.lower() for host in settings.allowed_hosts} or (settings.any_address and _is_address(name))


def is_own_site(site: str | None, origin: str | None, hosts: Sequence[str | None]) -> bool:
    """Return whether a form was sent by a page of this server, or not by a page (a person or a program).

    Args:
        site: the Sec-Fetch-Site header, which browsers send to the local machine and over HTTPS.
        origin: the Origin header, which browsers send with every form.
        hosts: the host names of the request.
    """
    if site is not None:
        return site in OWN_SITES
    try:
        return origin is None or urlsplit(origin).netloc.lower() in {host.lower() for host in hosts if host}
    except ValueError:
        return False


def read_host(text: str) -> str:
    """Return a name in the form of `allowed_hosts`: without scheme and port.

    Raises:
        UserError: it is not a host name.
    """
    match = _HOST.fullmatch(text)
    if match is None:
        raise UserError(f"{text!r} is not a host name; give the name alone, such as --allow-host hub.example.org.")
    return match["name"].lower().rstrip(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
