"""The path that a proxy serves the page under, such as JupyterHub's `/user/NAME/proxy/5000/`.

Every link on every page is relative, so a prefix that the proxy takes off needs no word about it. One that it leaves
on is taken off here: it is the one that was given, or the one in a trusted X-Forwarded-Prefix.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import quote, unquote

from unrolled.errors import UserError

NOT_IN_A_PATH = frozenset('?#\\"<>')
WsgiApplication = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class PrefixStripped:
    """A WSGI application that sees paths without the prefix, whether or not the proxy took it off before."""

    def __init__(self, application: WsgiApplication, prefix: str) -> None:
        self.application, self.prefix = application, prefix

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        for prefix in (_wsgi(self.prefix), environ.get("SCRIPT_NAME", "").rstrip("/")):
            if prefix and path == prefix:
                return _to_the_slash(prefix, start_response)
            if prefix and path.startswith(prefix + "/"):
                environ["SCRIPT_NAME"], environ["PATH_INFO"] = prefix, path[len(prefix) :]
                break
        return self.application(environ, start_response)


def read_prefix(text: str) -> str:
    """Return a prefix as it is kept: decoded, with a slash before it and none after; empty for none.

    Raises:
        UserError: it is no path.
    """
    path = unquote(text).strip("/")
    parts = path.split("/")
    if parts == [""]:
        return ""
    if any(part in ("", ".", "..") for part in parts) or any(not c.isprintable() or c in NOT_IN_A_PATH for c in path):
        raise UserError(f"The prefix {text!r} is no path of a URL; give one such as --prefix /user/NAME/proxy/5000/.")
    return f"/{path}"


def relative(path: str, target: str) -> str:
    """Return the link to `target` (a path from the root, without its first slash) on the page at `path`."""
    return ("../" * (path.count("/") - 1) or "./") + target


def _wsgi(path: str) -> str:
    """Return a path as WSGI carries it: its UTF-8 bytes as Latin-1."""
    return path.encode("utf-8").decode("latin-1")


def _to_the_slash(prefix: str, start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Send a visitor of `/a/b` to `/a/b/`, from where relative links lead to the right places."""
    last = quote(prefix.rpartition("/")[2].encode("latin-1"))
    start_response("308 Permanent Redirect", [("Location", f"./{last}/"), ("Content-Length", "0")])
    return [b""]
