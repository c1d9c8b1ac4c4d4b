"""The listening server: waitress, extended to always admit new clients and to survive running out of descriptors.

At the limit of open connections, the one that has waited longest for a request is closed, then the one that has read
slowly for longest; a connection that is being answered is never closed. Slow clients, however many, therefore cannot
keep others out. The loop accepts many connections at a time and reads from each immediately: a request that arrives
with its connection is being answered before the next connection is accepted.
"""

from __future__ import annotations

import errno
import logging
import select
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.server import TcpWSGIServer

from unrolled.serving.settings import WebSettings
from unrolled.web.transport.connections import Connection
from unrolled.web.transport.threads import ThreadPool

try:
    import resource
except ImportError:  # Windows
    resource = None

LOG = logging.getLogger("unrolled.web")
ACCEPTED_AT_ONCE = 64
CHECK_SECONDS = 1.0  # between two checks of all deadlines
PAUSE_SECONDS = 0.25  # without accepting, after running out of descriptors
CLOSED_AT_ONCE = 8  # connections, after running out of descriptors
CLOSED_PART = 16  # at the limit, 1/16 of it is closed at once: finding the oldest takes time
LOG_SECONDS = 10.0  # between two log lines about closed connections
FEWEST_CONNECTIONS = 8
NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
HAS_POLL = sys.platform.startswith("linux")  # there, POLLHUP means that both directions are closed


class Listener(TcpWSGIServer):
    """Serves a WSGI application on a bound socket."""

    channel_class = Connection

    def __init__(
        self,
        application: Any,
        bound: socket.socket,
        adjustments: Adjustments,
        settings: WebSettings,
        pool: ThreadPool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings, self.clock = settings, clock
        self.most = most_connections(settings.most_connections)
        self._next_check = self._paused_until = self._next_line = 0.0
        self._closed, self._reason = 0, ""  # since the last log line
        place = (bound.family, bound.type, bound.proto, bound.getsockname())
        super().__init__(
            application, {}, True, bound, dispatcher=pool, adj=adjustments, bind_socket=False, sockinfo=place
        )

    def run(self) -> None:
        """Serve until the server is closed or interrupted."""
        if not HAS_POLL:
            super().run()
            return
        try:
            while self._map:
                self._poll(PAUSE_SECONDS if self.clock() < self._paused_until else CHECK_SECONDS)
        except (SystemExit, KeyboardInterrupt):
            self.task_dispatcher.shutdown()

    def readable(self) -> bool:
        """Check the deadlines when due, and return whether connections are accepted now."""
        now = self.clock()
        if now >= self._next_check:
            self._next_check = now + CHECK_SECONDS
            self.maintenance(now)
        return self.accepting and now >= self._paused_until and self._has_room(now)

    def handle_accept(self) -> None:
        """Accept pending connections, closing others if necessary."""
        for _ in range(ACCEPTED_AT_ONCE):
            if not self._has_room(self.clock()):
                return
            try:
                client, address = self.socket.accept()
            except OSError as error:
                if error.errno in NO_DESCRIPTORS:
                    self._free_descriptors()
                return
            self._take_in(client, address)

    def maintenance(self, now: float) -> None:
        """Close every connection whose deadline has passed."""
        for connection in list(self.active_channels.values()):
            connection.look(now)
            if connection.is_late(now):
                connection.refuse_late()
        self._say_closed(now)

    def _take_in(self, client: socket.socket, address: Any) -> None:
        if len(self.active_channels) >= self.most:
            self._close_some(max(1, self.most // CLOSED_PART), "the limit of open connections is reached")
        try:
            self.set_socket_options(client)
            connection = self.channel_class(self, client, self.fix_addr(address), self.adj, map=self._map)
        except OSError:  # macOS: the client has left already
            client.close()
            return
        wasyncore.read(connection)

    def _has_room(self, now: float) -> bool:
        connections = list(self.active_channels.values())
        return len(connections) < self.most or any(one.is_waiting or one.is_stalled(now) for one in connections)

    def _close_some(self, number: int, reason: str) -> None:
        """Close those that have waited longest for a request, then those that have read slowly for longest."""
        now, connections = self.clock(), list(self.active_channels.values())
        waiting = sorted((one for one in connections if one.is_waiting), key=lambda one: one.waits_since)
        stalled = sorted((one for one in connections if one.is_stalled(now)), key=lambda one: one.slow_since)
        closed = [*waiting, *stalled][:number]
        for connection in closed:
            connection.handle_close()
        self._log(len(closed), reason)

    def _free_descriptors(self) -> None:
        """Close the oldest waiting connections and pause accepting: retrying immediately would spin."""
        self._close_some(CLOSED_AT_ONCE, "no file descriptors are left")
        self._paused_until = self.clock() + PAUSE_SECONDS

    def _log(self, closed: int, reason: str) -> None:
        self._closed, self._reason = self._closed + closed, reason
        self._say_closed(self.clock())

    def _say_closed(self, now: float) -> None:
        """Log closed connections, at most one line every `LOG_SECONDS`."""
        if self._reason and now >= self._next_line:
            LOG.warning("%d unfinished connection(s) closed for new ones: %s.", self._closed, self._reason)
            self._closed, self._reason, self._next_line = 0, "", now + LOG_SECONDS

    def _poll(self, seconds: float) -> None:
        """Wait for events and handle them: waitress' own loop, except that it always notices a reset.

        An event is delivered only to the connection that was polled: its descriptor may have been reused in between.
        """
        poll, watched = select.poll(), dict(self._map)
        for number, one in watched.items():
            flags = select.POLLIN | select.POLLPRI if one.readable() else 0
            if one.writable() and not one.accepting:
                flags |= select.POLLOUT
            if self._map.get(number) is one:  # it may have been closed
                poll.register(number, flags)
        for number, events in poll.poll(seconds * 1000):
            one = self._map.get(number)
            if one is not None and one is watched.get(number):
                wasyncore.readwrite(one, events)


def most_connections(wanted: int) -> int:
    """Return how many connections may be open: half the process's limit of descriptors, at most `wanted`.

    The other half is for files: an answer from a file keeps one open until the client has read it.
    """
    if resource is None:
        return wanted
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    return max(min(wanted, soft // 2), FEWEST_CONNECTIONS)
