"""The path under which a proxy serves the page, such as JupyterHub's `/user/NAME/proxy/5000/`.

All links are relative, so a prefix that the proxy strips needs no configuration. A prefix that it does not strip is
stripped here: the configured one, or the one in a trusted X-Forwarded-Prefix.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import quote, unquote

from unrolled.errors import UserError

NOT_IN_A_PATH = frozenset('?#\\"<>')
WsgiApplication = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class PrefixStripped:
    """A WSGI application that sees paths without the prefix, whether or not the proxy strips it."""

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
    """Return a prefix in canonical form: decoded, with a leading slash and no trailing one; empty for none.

    Raises:
        UserError: it is not a path.
    """
    path = unquote(text).strip("/")
    parts = path.split("/")
    if parts == [""]:
        return ""
    if any(part in ("", ".", "..") for part in parts) or any(not c.isprintable() or c in NOT_IN_A_PATH for c in path):
        raise UserError(f"The prefix {text!r} is not a URL path; give one such as --prefix /user/NAME/proxy/5000/.")
    return f"/{path}"


def relative(path: str, target: str) -> str:
    """Return the relative link from the page at `path` to `target` (from the root, without a leading slash)."""
    return ("../" * (path.count("/") - 1) or "./") + target


def _wsgi(path: str) -> str:
    """Return a path in WSGI's encoding: its UTF-8 bytes as Latin-1."""
    return path.encode("utf-8").decode("latin-1")


def _to_the_slash(prefix: str, start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Redirect `/a/b` to `/a/b/`, where relative links resolve correctly."""
    last = quote(prefix.rpartition("/")[2].encode("latin-1"))
    start_response("308 Permanent Redirect", [("Location", f"./{last}/"), ("Content-Length", "0")])
    return [b""]
