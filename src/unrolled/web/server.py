"""Serves the application with waitress: bind, report the URL, then answer requests until SIGINT or SIGTERM.

The socket is bound first, so that a port in use is reported in one sentence, not by a traceback from a thread. The
default is loopback; any other address draws a warning, since there is no password.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from flask import Flask
from waitress.adjustments import Adjustments

from unrolled.errors import UserError
from unrolled.serving.models import double_names
from unrolled.serving.opening import open_models
from unrolled.serving.session import GenerationSlots
from unrolled.serving.settings import LOOPBACK_HOSTS, WebSettings
from unrolled.web.app import create_app, open_history
from unrolled.web.history.history import MOST_ENTRIES, History
from unrolled.web.transport.listening import Listener
from unrolled.web.transport.threads import ThreadPool

LOG = logging.getLogger("unrolled.web")
DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 5000
SPARE_THREADS = 8  # answer pages and health checks while all slots are taken
BACKLOG = 1024
MOST_HEADER_BYTES = 32 * 1024  # parsing time grows with the square of their size
MOST_UNSENT_BYTES = 1024 * 1024  # of an answer, then its thread waits for the client; no page is that long


def serve_models(
    run_folders: Sequence[str | Path],
    host: str = DEFAULT_HOST,
    port: int = DEFAULT_PORT,
    *,
    settings: WebSettings | None = None,
    on_ready: Callable[[str], None] = LOG.info,
    on_note: Callable[[str], None] = LOG.info,
    on_warning: Callable[[str], None] = LOG.warning,
) -> None:
    """Load models and serve them until interrupted.

    Args:
        run_folders: run directories, the default model first; if empty, the bundled model. If there are more than
            `settings.models_at_start`, all but the first are loaded on first use.
        host: a name or address to bind; any address other than loopback triggers a warning.
        port: 0 takes any free port.
        settings: limits, addresses and history; `allowed_hosts` extends the names that follow from `host`.
        on_ready: called with the URL once requests are accepted.
        on_note: called with one sentence for each fact worth telling, such as where the history is.
        on_warning: called with one sentence for each warning.

    Raises:
        UserError: a model cannot be loaded, the address cannot be bound, or the history cannot be opened.
    """
    with contextlib.closing(bind(host, port)) as bound:  # first: a port in use is reported at once
        asked = WebSettings(history="auto") if settings is None else settings
        settings, history = _with_history(settings_for(bound, asked), asked.history == "auto", on_warning)
        models = open_models(run_folders, settings.models_at_start, on_warning, settings.decoding)
        app = create_app(models, settings, history)
        served = app.extensions["unrolled"].models
        warned = [
            f"{model.name}: {text}"
            for model in served.values()
            for text in (*model.warnings, *model.info.get("notes", ()))
        ]
        for sentence in (*double_names(served), *warned):
            on_warning(sentence)
        note = models[0].model.decoding_note  # the first one is always loaded
        if note is not None:
            on_note(note)
        if history is not None and history.trouble is None:
            days = f"for {settings.keep_days} days" if settings.keep_days else "for ever"
            most = f"the newest {MOST_ENTRIES:,} at most"
            on_note(f"Prompts and samples are stored {days}, {most}, in {history.file}; --history off stores none.")
        _serve_on(bound, app, on_ready, on_warning)


def serve(
    app: Flask,
    host: str = DEFAULT_HOST,
    port: int = DEFAULT_PORT,
    *,
    on_ready: Callable[[str], None] = LOG.info,
    on_warning: Callable[[str], None] = LOG.warning,
) -> None:
    """Serve an application until interrupted; see `serve_models`.

    Raises:
        UserError: the address cannot be bound.
    """
    with contextlib.closing(bind(host, port)) as bound:
        _serve_on(bound, app, on_ready, on_warning)


class Server:
    """A bound, listening server. `run` serves until `stop` (from any thread) or an interrupt (in the main thread)."""

    def __init__(self, app: Flask, bound: socket.socket) -> None:
        context = app.extensions["unrolled"]
        self.url = address_url(bound)
        self._slots: GenerationSlots = context.slots
        self._history: History | None = context.history
        self._leaving = threading.Lock()
        self._has_left = False
        # The slots bound the work, so a short queue of pages is not worth a warning.
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)
        pool = ThreadPool(context.settings.generations_at_once + SPARE_THREADS)
        context.while_waiting = pool.waiting
        self._waitress = Listener(app, bound, _adjustments(bound, context.settings), context.settings, pool)

    def run(self, on_ready: Callable[[str], None] = LOG.info) -> None:
        """Call `on_ready` with the URL, then serve until stopped; running sessions end at their next token."""
        tidy = contextlib.nullcontext() if self._history is None else self._history.kept_tidy()
        with tidy, _signals_end(self._slots), contextlib.suppress(KeyboardInterrupt):
            on_ready(self.url)
            self._waitress.run()
        self._slots.close()
        self._waitress.task_dispatcher.shutdown()
        self._leave()

    def stop(self) -> None:
        """End `run`, from any thread; further calls do nothing."""
        self._slots.close()
        with self._leaving:
            if not self._has_left:
                self._waitress.trigger.pull_trigger(self._leave)

    def _leave(self) -> None:
        """Close all connections and the listening socket, in the loop's thread, which ends the loop."""
        with self._leaving:
            if self._has_left:
                return
            self._has_left = True
            for channel in list(self._waitress.active_channels.values()):
                channel.handle_close()
            self._waitress.close()


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that listens on the address (IPv4 if a name has both).

    Raises:
        UserError: the address does not exist, or the port is in use or not permitted.
    """
    if not 0 <= port <= 65_535:
        raise UserError(f"Port {port} does not exist; choose one from 1024 to 65535, such as --port 5001.")
    family, address = _resolve(host, port)
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # on Windows it would share a port that is in use
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind(address)
        bound.listen(BACKLOG)
    except OSError as error:
        bound.close()
        raise UserError(_bind_problem(error, host, port)) from None
    return bound


def settings_for(bound: socket.socket, settings: WebSettings) -> WebSettings:
    """Return the settings completed for a bound socket: accepted host names, and who can reach the server.

    On loopback, the accepted names are the loopback ones and those in `settings`. A server that others can reach also
    accepts any literal address and the machine's name; a foreign site's DNS can take over neither. A server that
    others reach, directly or through a proxy, stores a history only if told to.
    """
    given = tuple(dict.fromkeys((*settings.allowed_hosts, *LOOPBACK_HOSTS)))
    in_front = settings.behind_proxy or bool(settings.prefix) or not set(given) <= set(LOOPBACK_HOSTS)
    public = in_front or not is_loopback(bound)
    history = settings.history if settings.history != "auto" else "off" if public else "on"
    settings = replace(settings, public=public, history=history)
    if is_loopback(bound):
        return replace(settings, allowed_hosts=tuple(dict.fromkeys((*given, _literal(bound)))))
    return replace(settings, allowed_hosts=(*given, socket.gethostname()), any_address=True)


def _with_history(
    settings: WebSettings, may_do_without: bool, on_warning: Callable[[str], None]
) -> tuple[WebSettings, History | None]:
    """Open the history that the settings require; if `may_do_without`, a failure is only a warning.

    Raises:
        UserError: the history cannot be opened.
    """
    if settings.history == "off":
        return settings, None
    try:
        history = open_history(settings)
    except UserError as error:
        if not may_do_without:
            raise
        on_warning(f"No history is stored: {error}")
        return replace(settings, history="off"), None
    if history.trouble is not None:
        on_warning(f"New samples are not stored in the history {history.file}: {history.trouble.reason}.")
    return settings, history


def is_loopback(bound: socket.socket) -> bool:
    """Say whether only this machine can reach the socket."""
    return _address(bound).is_loopback


def address_url(bound: socket.socket) -> str:
    """Return the URL to open; for a socket on all addresses, the loopback URL."""
    literal = _literal(bound)
    if _address(bound).is_unspecified:
        literal = "127.0.0.1" if bound.family == socket.AF_INET else "[::1]"
    return f"http://{literal}:{bound.getsockname()[1]}"


def _serve_on(
    bound: socket.socket,
    app: Flask,
    on_ready: Callable[[str], None],
    on_warning: Callable[[str], None],
) -> None:
    server = Server(app, bound)
    if not is_loopback(bound):
        on_warning(
            f"Everyone who can reach {_literal(bound)} can use this page; there is no password. "
            "Without --host only this machine can."
        )
    settings = app.extensions["unrolled"].settings
    if settings.public and app.extensions["unrolled"].shown_history is not None:
        on_warning(
            "Everyone who can reach this page can read and delete its history; "
            "--history hidden stores one without a page."
        )
    server.run(on_ready)


def _adjustments(bound: socket.socket, settings: WebSettings) -> Adjustments:
    """Return the settings for waitress."""
    most_body = 2 * settings.max_body_bytes  # up to this size Flask refuses the body, with our message
    return Adjustments(
        sockets=[bound],
        max_request_header_size=MOST_HEADER_BYTES,
        max_request_body_size=most_body,
        inbuf_overflow=most_body + 1,  # keeps bodies in memory: a temporary file would take a descriptor
        outbuf_high_watermark=MOST_UNSENT_BYTES,
        channel_request_lookahead=1,  # reads ahead during generation, which detects clients that leave
        backlog=BACKLOG,
        ident=None,
        clear_untrusted_proxy_headers=not settings.behind_proxy,
    )


def _resolve(host: str, port: int) -> tuple[socket.AddressFamily, tuple]:
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise UserError(
            f"There is no address {host!r} here; try --host 127.0.0.1 (this machine only) or --host 0.0.0.0 (everyone)."
        ) from None
    family, _, _, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    return family, address


def _bind_problem(error: OSError, host: str, port: int) -> str:
    other = f"choose another, such as --port {port + 1 if port < 65_535 else 5001}"
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} on {host} is in use by another program; stop that, or {other}."
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"Port {port} on {host} may not be used by this user; {other if port >= 1024 else 'choose --port 5001'}."
    if error.errno == errno.EADDRNOTAVAIL:
        return f"This machine does not have the address {host}; try --host 127.0.0.1."
    return f"Port {port} on {host} cannot be opened ({error.strerror}); {other}."


def _address(bound: socket.socket) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return ipaddress.ip_address(bound.getsockname()[0].partition("%")[0])


def _literal(bound: socket.socket) -> str:
    address = _address(bound)
    return f"[{address}]" if address.version == 6 else str(address)


@contextlib.contextmanager
def _signals_end(slots: GenerationSlots) -> Iterator[None]:
    """Make SIGINT and SIGTERM end the loop and all sessions; only the main thread can set signal handlers."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, frame: object) -> None:
        slots.close()
        raise KeyboardInterrupt

    before = {number: signal.signal(number, leave) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
