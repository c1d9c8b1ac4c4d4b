"""A client's connection: waitress' channel with deadlines, which also tells half-closed connections from closed ones.

A connection is in one of three states: it *waits* for a complete request (none yet, a part, or idle between two), it is
being *answered*, or the client still has to *read* an answer that is complete here. A client can only draw out the
first and the last, so those have deadlines, and those can be closed to admit new connections.

A client that closes its sending side after a request (`shutdown(SHUT_WR)`, as `nc -N` does) still reads. One that has
closed the connection looks the same until something is sent to it: its kernel then replies with a reset, which poll
reports as POLLERR and POLLHUP. A streamed answer sends anyway; a client whose answer is not ready is sent an interim
`100 Continue`, which every HTTP/1.1 client skips (RFC 9110, 15.2).
"""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

from waitress.channel import HTTPChannel

if TYPE_CHECKING:
    from unrolled.web.transport.listening import Listener

MOST_PIPELINED = 8  # queued requests of one connection; browsers send one
PROBE_SECONDS = 1.0  # after the end of a client's input; most answers are ready sooner
PROBE = b"HTTP/1.1 100 Continue\r\n\r\n"
TOO_LATE = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
SLOWEST_READER = 4 * 1024  # bytes per second
STALLED_SECONDS = 5.0  # of slow reading, after which a connection may be closed to admit others


class Connection(HTTPChannel):
    """A connection that records what it waits for. All methods but `service` and `write_soon` run in the loop."""

    def __init__(self, server: Listener, sock: socket.socket, *rest: object, **more: object) -> None:
        now = server.clock()
        self.waiting_since = now  # since it was opened, or its last answer was complete
        self.request_since: float | None = now  # since its first byte; for the first request, since the start
        self._input_ended: float | None = None  # when the client closed its sending side
        self._probed = self._answer_begun = False
        self.slow_since: float | None = None  # since when the client has left data unread
        self._sent = self._sent_before = 0  # bytes: in total, and when the client became slow
        super().__init__(server, sock, *rest, **more)

    @property
    def is_waiting(self) -> bool:
        """Whether no request is being answered and no answer is unsent."""
        return not self.requests and not self.total_outbufs_len

    @property
    def waits_since(self) -> float:
        """When the wait for the next complete request began."""
        return self.waiting_since if self.request_since is None else self.request_since

    def is_late(self, now: float) -> bool:
        """Return whether the client has taken too long to send a request or to read an answer."""
        settings = self.server.settings
        if not self.is_waiting:
            return self._has_read_slowly_for(settings.reader_seconds, now)
        if self.request is None and self.request_since is None:
            return now - self.waiting_since > settings.idle_seconds
        has_headers = self.request is not None and self.request.headers_finished
        return now - self.waits_since > (settings.body_seconds if has_headers else settings.header_seconds)

    def is_stalled(self, now: float) -> bool:
        """Return whether the client reads so slowly that the connection may be closed for others."""
        return not self.is_waiting and self._has_read_slowly_for(STALLED_SECONDS, now)

    def look(self, now: float) -> None:
        """Record how fast the client reads, and probe whether it is still there; called about once a second."""
        if not self.total_outbufs_len:
            self.slow_since = None
        elif self.slow_since is None or not self._has_read_slowly_for(0, now):
            self.slow_since, self._sent_before = now, self._sent
        if self._input_ended is not None and now - self._input_ended > PROBE_SECONDS:
            self._probe()

    def refuse_late(self) -> None:
        """Close the connection; a client that has sent part of a request gets status 408 first."""
        if self.is_waiting and self.request is not None:
            with contextlib.suppress(OSError):
                self.send(TOO_LATE, do_close=False)
        self.handle_close()

    def readable(self) -> bool:
        """Return whether to wait for input; False after its end."""
        return self._input_ended is None and super().readable()

    def handle_read(self) -> None:
        """Read what the client has sent."""
        try:
            data = self.socket.recv(self.adj.recv_bytes)
        except BlockingIOError:
            return
        except OSError:  # a reset
            self.handle_close()
            return
        if not data:
            self._end_input()
            return
        if self.request_since is None:
            self.request_since = self.server.clock()
        self.received(data)
        if len(self.requests) > MOST_PIPELINED:
            self.handle_close()

    def send(self, data: bytes, do_close: bool = True) -> int:
        """Send what the kernel takes; return how many bytes that was."""
        sent = super().send(data, do_close)
        self._sent += sent
        return sent

    def write_soon(self, data: object) -> int:
        """Add to the answer; see `_probe`."""
        with self.outbuf_lock:
            self._answer_begun = True
        return super().write_soon(data)

    def service(self) -> None:
        """Answer one request in a thread of the pool."""
        self._answer_begun = False
        super().service()
        with self.requests_lock:
            if not self.requests:
                self.waiting_since, self.request_since = self.server.clock(), None
                self._close_if_input_ended()
        if self.connected:
            self.server.pull_trigger()

    def _end_input(self) -> None:
        """Record the end of the client's input; close the connection once everything is answered."""
        with self.requests_lock:
            self._input_ended = self.server.clock()
            if not self.requests:
                self._close_if_input_ended()

    def _close_if_input_ended(self) -> None:
        if self._input_ended is not None:
            self.close_when_flushed = True

    def _probe(self) -> None:
        """Send an interim answer once, before any of the real one: it shows whether the client is still there."""
        with self.requests_lock:
            is_due = bool(self.requests) and not self._probed and self.requests[0].version == "1.1"
        if not is_due:
            return
        with self.outbuf_lock:
            if self._answer_begun:
                return
            self._probed = True
            self.outbufs[-1].append(PROBE)
            self.current_outbuf_count += len(PROBE)
            self.total_outbufs_len += len(PROBE)
            self._flush_some()

    def _has_read_slowly_for(self, seconds: float, now: float) -> bool:
        if self.slow_since is None or not self.total_outbufs_len:
            return False
        past = now - self.slow_since
        return past >= seconds and self._sent - self._sent_before <= SLOWEST_READER * past
