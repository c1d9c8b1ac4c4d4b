"""Slow, silent and half-closed clients over real sockets: others are answered, and deadlines hold."""

import itertools
import json
import logging
import os
import select
import socket
import subprocess
import sys
import threading
import urllib.parse
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from flask import Response

from tests.web.fakes import FakeModel, until
from tests.web.test_server import ask, connect, rest
from unrolled.serving.settings import WebSettings
from unrolled.web.app import create_app
from unrolled.web.transport import connections, listening
from unrolled.web.transport.listening import most_connections

HEALTH = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
BEGUN = b"GET /health HTTP/1.1\r\nHost: 127.0"
LINUX = pytest.mark.skipif(not listening.HAS_POLL, reason="other systems report a half-closed connection differently")


def raw(server):
    """Open a connection by hand."""
    return socket.create_connection(("127.0.0.1", urllib.parse.urlsplit(server.url).port), 30)


def generate(version="1.1", **fields):
    """Return the bytes of a request for a text."""
    body = json.dumps(fields).encode()
    head = f"POST /api/generate HTTP/{version}\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def everything(client):
    """Read until the server closes the connection, in whatever manner."""
    received = b""
    with suppress(ConnectionError):
        while data := client.recv(65536):
            received += data
    return received


def is_healthy(server):
    with connect(server) as connection:
        connection.request("GET", "/health")
        return json.loads(connection.getresponse().read()) == {"status": "ok"}


@pytest.mark.parametrize("sent", [b"", BEGUN, generate(prompt="Once")[:-3]], ids=["silent", "headers", "body"])
def test_a_new_client_is_answered_however_many_do_not_finish_their_request(served, sent):
    server = served(create_app([FakeModel()], WebSettings(most_connections=8)))
    with ExitStack() as stack:
        for _ in range(30):
            stack.enter_context(raw(server)).sendall(sent)
        for _ in range(20):
            assert is_healthy(server)


def test_the_connection_that_waits_longest_makes_room(served):
    server = served(create_app([FakeModel()], WebSettings(most_connections=8)))
    with ExitStack() as stack:
        first, *others = [stack.enter_context(raw(server)) for _ in range(8)]
        until(lambda: len(server._waitress.active_channels) == 8)
        assert is_healthy(server)
        assert everything(first) == b""
        assert select.select(others, [], [], 0)[0] == []


def test_a_connection_that_is_answered_is_never_closed_for_others(served):
    gate = threading.Event()
    server = served(create_app([FakeModel(gates={1: gate})], WebSettings(most_connections=8)))
    with connect(server) as connection, ExitStack() as stack:
        response = ask(connection, max_tokens=5, seed=0)
        assert response.readline()
        for _ in range(30):
            stack.enter_context(raw(server))
        assert is_healthy(server)
        gate.set()
        assert rest(response)[-1]["tokens"] == 5


def test_where_all_are_answered_a_new_client_waits_for_one_to_end(served):
    gate = threading.Event()
    server = served(create_app([FakeModel(gates={1: gate})], WebSettings(most_connections=8, generations_at_once=8)))
    with ExitStack() as stack:
        responses = [ask(stack.enter_context(connect(server)), max_tokens=3, seed=0) for _ in range(8)]
        with ThreadPoolExecutor(1) as pool:
            healthy = pool.submit(is_healthy, server)
            gate.set()
            assert [rest(response)[-1]["tokens"] for response in responses] == [3] * 8
            assert healthy.result(30)


@pytest.mark.parametrize(
    ("sent", "answer"),
    [(b"", b""), (BEGUN, b"HTTP/1.1 408 "), (generate(prompt="Once")[:-3], b"HTTP/1.1 408 "), (b"\r\n\r\n", b"")],
    ids=["silent", "headers", "body", "blank"],
)
def test_a_request_that_is_not_there_in_time_ends_the_connection(served, monkeypatch, sent, answer):
    monkeypatch.setattr(listening, "CHECK_SECONDS", 0.01)
    limits = {"header_seconds": 0.05, "body_seconds": 0.05}
    with raw(served(create_app([FakeModel()], WebSettings(**limits)))) as client:
        client.sendall(sent)
        received = everything(client)
    assert received.startswith(answer)
    assert bool(received) == bool(answer)


@pytest.mark.parametrize(
    ("start", "drip"),
    [
        (b"GET /health HTTP/1.1\r\nX-Slow: ", b"x"),
        (b"", b"\r\n\r\n"),
        (b"", b"\r\n\r\n\r"),
        (generate(prompt="x" * 5000)[:-5000], b"x"),
        (b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nExpect: 100-continue\r\nContent-Length: 5000\r\n\r\n", b"x"),
    ],
    ids=["header", "blank lines", "blank lines and a bit", "body", "chunks", "continue"],
)
def test_dripping_does_not_extend_a_deadline(served, monkeypatch, start, drip):
    monkeypatch.setattr(listening, "CHECK_SECONDS", 0.01)
    limits = {"header_seconds": 0.1, "body_seconds": 0.1, "idle_seconds": 0.1}
    server = served(create_app([FakeModel()], WebSettings(**limits)))
    with raw(server) as client, suppress(ConnectionError):
        client.sendall(start)
        drips = itertools.count()
        while next(drips) < 2000:
            if select.select([client], [], [], 0.005)[0] and not client.recv(100):
                return
            client.sendall(drip)
        pytest.fail("the connection is still open")


def test_an_idle_connection_serves_more_requests_and_is_closed_after_a_while(served, monkeypatch):
    monkeypatch.setattr(listening, "CHECK_SECONDS", 0.01)
    server = served(create_app([FakeModel()]))
    with connect(server) as connection:
        for _ in range(3):
            connection.request("GET", "/health")
            assert connection.getresponse().read()
        server._waitress.settings = WebSettings(idle_seconds=0.01)
        assert everything(connection.sock) == b""


def test_a_text_that_takes_longer_than_a_request_may_is_not_cut_off(served, monkeypatch):
    monkeypatch.setattr(listening, "CHECK_SECONDS", 0.01)
    looks, gate = [], threading.Event()
    model = FakeModel(gates={1: gate})
    server = served(create_app([model]))
    maintain = server._waitress.maintenance
    server._waitress.maintenance = lambda now: (looks.append(now), maintain(now))
    with raw(server) as client:
        client.sendall(generate(max_tokens=3))
        until(lambda: model.written == 1)
        server._waitress.settings = WebSettings(header_seconds=0, body_seconds=0, idle_seconds=0, reader_seconds=0)
        seen = len(looks)
        until(lambda: len(looks) > seen + 3)
        gate.set()
        assert client.recv(65536).startswith(b"HTTP/1.1 200")


@LINUX
@pytest.mark.parametrize(
    "request_bytes", [HEALTH, generate(max_tokens=9, seed=0), generate("1.0", max_tokens=9, seed=0)]
)
def test_a_client_that_sends_nothing_more_gets_its_answer(served, request_bytes):
    with raw(served(create_app([FakeModel()]))) as client:
        client.sendall(request_bytes)
        client.shutdown(socket.SHUT_WR)
        head, _, body = everything(client).partition(b"\r\n\r\n")
    assert b" 200 OK" in head.splitlines()[0]
    assert json.loads(body)


@LINUX
def test_a_client_that_sends_nothing_more_gets_the_rest_of_its_stream_and_of_its_requests(served):
    gate = threading.Event()
    server = served(create_app([FakeModel(gates={1: gate})]))
    with raw(server) as client:
        client.sendall(HEALTH + generate(max_tokens=4, seed=0))
        client.shutdown(socket.SHUT_WR)
        until(lambda: [one for one in server._waitress.active_channels.values() if one._input_ended is not None])
        gate.set()
        received = everything(client)
    assert received.count(b"HTTP/1.1 200 OK") == 2
    assert b"the " in received


@LINUX
@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_an_interim_answer_finds_out_who_is_there_and_breaks_nothing(served, monkeypatch, version):
    monkeypatch.setattr(listening, "CHECK_SECONDS", 0.01)
    monkeypatch.setattr(connections, "PROBE_SECONDS", 0)
    looks, gate = [], threading.Event()
    server = served(create_app([FakeModel(gates={1: gate})]))
    with raw(server) as client:
        client.sendall(generate(version, max_tokens=4, seed=0))
        client.shutdown(socket.SHUT_WR)
        until(lambda: server._waitress.active_channels)
        (channel,) = server._waitress.active_channels.values()
        until(lambda: channel._input_ended is not None)
        look = channel.look
        channel.look = lambda now: (look(now), looks.append(now))
        until(lambda: len(looks) > 3)
        gate.set()
        received = everything(client)
    interim = b"HTTP/1.1 100 Continue\r\n\r\n" if version == "1.1" else b""
    assert received.startswith(interim + b"HTTP/" + version.encode() + b" 200 OK")
    assert received.count(b" 100 ") == bool(interim)


class UntilGone:
    """A gate that opens once the server has noticed that the client of the first request hung up."""

    def __init__(self, app):
        self.environ = {}
        self.inner, app.wsgi_app = app.wsgi_app, self

    def __call__(self, environ, start_response):
        if not self.environ:
            self.environ = environ
        return self.inner(environ, start_response)

    def wait(self, timeout):
        until(self.environ["waitress.client_disconnected"], timeout)
        return True


@LINUX
def test_a_client_that_left_is_noticed_before_its_answer_is_ready(served, monkeypatch):
    monkeypatch.setattr(listening, "CHECK_SECONDS", 0.01)
    monkeypatch.setattr(connections, "PROBE_SECONDS", 0)
    model = FakeModel()
    app = create_app([model], WebSettings(generations_at_once=1, queue_length=1))
    model.gates[2] = UntilGone(app)
    server = served(app)
    with raw(server) as client:
        client.sendall(generate(max_tokens=2000))
        until(lambda: model.written == 2)
    assert model.closed.acquire(timeout=30)
    assert model.written == 3


@LINUX
def test_a_client_that_left_leaves_the_queue(served, monkeypatch):
    monkeypatch.setattr(listening, "CHECK_SECONDS", 0.01)
    monkeypatch.setattr(connections, "PROBE_SECONDS", 0)
    gate = threading.Event()
    model = FakeModel(gates={1: gate})
    app = create_app([model], WebSettings(generations_at_once=1, queue_seconds=1000))
    server, slots = served(app), app.extensions["unrolled"].slots
    with connect(server) as connection:
        response = ask(connection, max_tokens=2, seed=0)
        assert response.readline()
        with raw(server) as client:
            client.sendall(generate(max_tokens=2))
            until(lambda: slots.waiting == 1)
        until(lambda: slots.waiting == 0)
        gate.set()
        assert rest(response)[-1]["tokens"] == 2
    assert len(model.opened) == 1


@LINUX
def test_a_reset_is_noticed_while_nothing_is_read_or_written(served):
    gate = threading.Event()
    app = create_app([FakeModel(gates={0: gate})])
    server = served(app)
    with raw(server) as client:
        client.sendall(generate(max_tokens=2) * 3)  # more than are read ahead
        until(lambda: [one for one in server._waitress.active_channels.values() if len(one.requests) == 3])
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    until(lambda: not server._waitress.active_channels)
    gate.set()


def test_sixty_four_clients_at_once_are_all_served(served):
    model = FakeModel()
    server = served(create_app([model]))
    together = threading.Barrier(64)

    def text(seed):
        with raw(server) as client:
            together.wait(30)
            client.sendall(generate("1.0", max_tokens=50, seed=seed))
            head, _, body = everything(client).partition(b"\r\n\r\n")
            return head.splitlines()[0], json.loads(body)["samples"][0]["text"]

    with ThreadPoolExecutor(64) as pool:
        assert list(pool.map(text, range(64))) == [(b"HTTP/1.0 200 OK", model.text(seed, 50)) for seed in range(64)]


def test_the_page_answers_while_the_queue_is_full(served):
    gate = threading.Event()
    settings = WebSettings(generations_at_once=1, queue_length=3, queue_seconds=1000)
    app = create_app([FakeModel(gates={1: gate})], settings)
    server, slots = served(app), app.extensions["unrolled"].slots

    def tokens(_):
        with connect(server) as connection:
            return rest(ask(connection, max_tokens=2))[-1]["tokens"]

    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(tokens, number) for number in range(4)]
        until(lambda: slots.waiting == 3)
        assert is_healthy(server)
        with connect(server) as connection:
            refused = ask(connection, max_tokens=2)
            assert (refused.status, int(refused.getheader("Retry-After")) > 0) == (503, True)
        gate.set()
        assert [request.result(30) for request in running] == [2] * 4


def test_those_who_wait_are_answered_when_the_server_stops(served):
    gate = threading.Event()
    app = create_app([FakeModel(gates={1: gate})], WebSettings(generations_at_once=1, queue_seconds=1000))
    server, slots = served(app), app.extensions["unrolled"].slots
    with connect(server) as connection, raw(server) as client:
        response = ask(connection, max_tokens=2)
        assert response.readline()
        client.sendall(generate(max_tokens=2))
        until(lambda: slots.waiting == 1)
        server._slots.close()
        assert client.recv(65536).startswith(b"HTTP/1.1 503 ")
        gate.set()


def test_a_reader_who_takes_nothing_ends_an_answer_without_end(served, monkeypatch):
    monkeypatch.setattr(listening, "CHECK_SECONDS", 0.01)
    app, ended, sent = create_app([FakeModel()], WebSettings(reader_seconds=0.1)), threading.Event(), itertools.count()

    def flood():
        try:
            while True:
                next(sent)
                yield b"x" * 65536
        finally:
            ended.set()

    app.add_url_rule("/flood", view_func=lambda: Response(flood()))
    server = served(app)
    with raw(server) as client:
        client.sendall(HEALTH.replace(b"/health", b"/flood"))
        assert ended.wait(30)
    assert next(sent) * 65536 < 64 * 1024 * 1024


def test_a_slow_reader_makes_room_for_a_new_client(served, monkeypatch):
    monkeypatch.setattr(listening, "CHECK_SECONDS", 0.01)
    monkeypatch.setattr(connections, "STALLED_SECONDS", 0.05)
    app = create_app([FakeModel()], WebSettings(most_connections=8))
    app.add_url_rule("/large", view_func=lambda: Response(b"x" * 16 * 1024 * 1024))
    server = served(app)
    with ExitStack() as stack:
        for _ in range(8):
            stack.enter_context(raw(server)).sendall(HEALTH.replace(b"/health", b"/large"))
        until(lambda: len(server._waitress.active_channels) == 8)
        assert is_healthy(server)


def test_a_connection_with_too_many_requests_in_line_is_closed(served):
    with raw(served(create_app([FakeModel()]))) as client:
        client.sendall(HEALTH * connections.MOST_PIPELINED)
        answers = b""
        while answers.count(b"200 OK") < connections.MOST_PIPELINED:
            answers += client.recv(65536)
        client.sendall(HEALTH * 50)
        assert everything(client).count(b"200 OK") < 50


@pytest.mark.parametrize(
    "line", [b"X-Long: " + b"x" * 100_000, b"a:b\r\n" * 20_000, b"x"], ids=["long", "many", "without a colon"]
)
def test_headers_beyond_all_measure_are_refused(served, line):
    server = served(create_app([FakeModel()]))
    with raw(server) as client:
        with suppress(ConnectionError):
            client.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n" + line + b"\r\n\r\n")
        assert b" 200 " not in everything(client)  # a reset may overtake the words
    assert is_healthy(server)


def test_half_of_the_descriptors_are_for_connections(monkeypatch):
    resource = pytest.importorskip("resource")
    for soft, most in ((20_000, 256), (100, 50), (10, 8), (resource.RLIM_INFINITY, 256)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, soft=soft: (soft, soft))
        assert most_connections(256) == most
    monkeypatch.setattr(listening, "resource", None)
    assert most_connections(256) == 256


def test_closed_connections_are_one_line_of_the_log_for_all_of_some_seconds(served, caplog):
    server = served(create_app([FakeModel()], WebSettings(most_connections=8)))
    with caplog.at_level(logging.WARNING), ExitStack() as stack:
        for _ in range(40):
            stack.enter_context(raw(server))
        assert is_healthy(server)
    assert len([record for record in caplog.records if "closed for new ones" in record.getMessage()]) == 1


WITHOUT_DESCRIPTORS = """
import os, resource
from tests.web.fakes import FakeModel
from unrolled.web import create_app, serve
def ready(url):
    used = len(os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 20, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    print(url, flush=True)
serve(create_app([FakeModel()]), port=0, on_ready=ready)
"""


@LINUX
def test_a_server_without_descriptors_answers_and_says_little():
    paths = [str(Path(__file__).parents[3]), *sys.path]
    process = subprocess.Popen(
        [sys.executable, "-c", WITHOUT_DESCRIPTORS],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in paths if path)},
    )
    with process, ExitStack() as stack:
        server = namedtuple("Server", "url")(process.stdout.readline().strip())
        for _ in range(100):
            stack.enter_context(raw(server))
        assert is_healthy(server)
        stack.close()
        assert is_healthy(server)
        process.terminate()
        _, err = process.communicate(timeout=60)
    assert 1 <= len(err.splitlines()) <= 5
    assert "no file descriptors are left" in err
    assert "Traceback" not in err
