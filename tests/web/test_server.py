"""The server with real sockets: text is streamed, clients that leave free their slot, ports in use are reported."""

import http.client
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from tests.web.fakes import FakeModel
from unrolled.errors import UserError
from unrolled.native import native_library
from unrolled.serving.settings import LOOPBACK_HOSTS, WebSettings
from unrolled.web import server as server_module
from unrolled.web.app import create_app
from unrolled.web.server import address_url, bind, is_loopback, serve, serve_models, settings_for


def connect(server):
    address = urllib.parse.urlsplit(server.url)
    return closing(http.client.HTTPConnection(address.hostname, address.port, timeout=30))


def ask(connection, **fields):
    connection.request(
        "POST",
        "/stream",
        urllib.parse.urlencode(fields),
        {"Content-Type": "application/x-www-form-urlencoded"},
    )
    return connection.getresponse()


def rest(response):
    return [json.loads(line) for line in response.read().splitlines()]


def test_the_first_letters_arrive_while_the_model_still_writes(served):
    gate = threading.Event()
    model = FakeModel(gates={3: gate})
    server = served(create_app([model]))
    try:
        with connect(server) as connection:
            response = ask(connection, max_tokens=6, seed=0)
            first = [json.loads(response.readline())["text"] for _ in range(3)]
            assert first == ["t", "h", "e"]
            assert not gate.is_set()
            gate.set()
            *pieces, last = rest(response)
            assert [piece["text"] for piece in pieces] == [" ", "s", "e"]
            assert last["tokens"] == 6
    finally:
        gate.set()


def test_a_visitor_who_hangs_up_stops_the_model_and_frees_the_place(served):
    model, enough = FakeModel(), 1_000_000
    app = create_app([model], WebSettings(generations_at_once=1, queue_length=0, max_tokens=enough))
    server = served(app)
    with connect(server) as connection:
        response = ask(connection, max_tokens=enough, seed=0)
        assert json.loads(response.readline()) == {"text": "t"}
        with connect(server) as other:
            assert ask(other, max_tokens=1).status == 503
        response.close()
    assert model.closed.acquire(timeout=30)
    assert model.written < enough
    with connect(server) as connection:  # the place is free a moment after the generator has ended, in another thread
        while (response := ask(connection, max_tokens=2, seed=1)).status == 503:
            response.read()
        assert rest(response)[-1]["tokens"] == 2


def test_the_page_answers_while_every_place_is_taken(served):
    gate = threading.Event()
    model = FakeModel(gates={1: gate})
    server = served(create_app([model], WebSettings(generations_at_once=2, queue_length=0)))
    try:
        with connect(server) as one, connect(server) as two, connect(server) as three:
            running = [ask(one, max_tokens=3, seed=0), ask(two, max_tokens=3, seed=1)]
            for response in running:
                response.readline()
            refused = ask(three, max_tokens=3)
            assert refused.status == 503
            assert int(refused.getheader("Retry-After")) > 0
            refused.read()
            three.request("GET", "/health")
            assert json.loads(three.getresponse().read()) == {"status": "ok"}
            gate.set()
            assert [rest(response)[-1]["tokens"] for response in running] == [3, 3]
    finally:
        gate.set()


def test_requests_at_once_are_answered_like_requests_in_turn(served):
    model = FakeModel()
    server = served(create_app([model], WebSettings(generations_at_once=8)))

    def text(seed):
        with connect(server) as connection:
            return "".join(line.get("text", "") for line in rest(ask(connection, max_tokens=200, seed=seed)))

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(text, range(8))) == [model.text(seed, 200) for seed in range(8)]


def test_stopping_the_server_ends_running_texts(served):
    gate = threading.Event()
    model = FakeModel(gates={1: gate})
    server = served(create_app([model]))
    with connect(server) as connection:
        response = ask(connection, max_tokens=2000, seed=0)
        assert response.readline()
        server.stop()
        server.stop()  # the second call does nothing
        gate.set()
        assert model.closed.acquire(timeout=30)


def test_the_server_checks_the_host_and_names_no_software(served):
    server = served(create_app([FakeModel()]))
    with connect(server) as connection:
        connection.request("GET", "/", headers={"Host": "evil.example"})
        response = connection.getresponse()
        assert response.status == 400
        assert not response.getheader("Server")
        response.read()
    with closing(socket.create_connection(("127.0.0.1", urllib.parse.urlsplit(server.url).port), 30)) as raw:
        raw.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert b" 400 " in raw.recv(1000)


def test_a_body_beyond_the_limit_is_refused_in_words(served):
    server = served(create_app([FakeModel()]))
    with connect(server) as connection:
        response = ask(connection, prompt="x" * 300_000)
        assert response.status == 413
        assert "shorter prompt" in json.loads(response.read())["error"]


def test_a_port_in_use_is_named_with_the_way_out():
    with closing(bind("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf"Port {port} on 127.0.0.1 is in use.*--port {port + 1}"):
            serve(create_app([FakeModel()]), port=port)


@pytest.mark.parametrize(
    ("host", "port", "words"),
    [
        ("127.0.0.1", 65_536, "--port 5001"),
        ("127.0.0.1", -1, "--port 5001"),
        ("no.such.host.invalid", 0, "--host 127.0.0.1"),
        ("a" * 70 + ".x", 0, "--host"),
        ("192.0.2.1", 0, "--host 127.0.0.1"),
    ],
)
def test_an_address_that_cannot_be_bound_is_a_user_error(host, port, words):
    with pytest.raises(UserError, match=words):
        bind(host, port)


def test_an_address_of_ipv6_is_served_in_brackets(served):
    try:
        bound = bind("::1", 0)
    except UserError:
        pytest.skip("this machine has no IPv6")
    with closing(bound):
        assert address_url(bound) == f"http://[::1]:{bound.getsockname()[1]}"
        assert is_loopback(bound)


def test_a_name_is_bound_where_a_browser_looks_for_it():
    with closing(bind("localhost", 0)) as bound:
        assert is_loopback(bound)


def test_on_loopback_only_loopback_names_are_answered():
    with closing(bind("127.0.0.1", 0)) as bound:
        settings = settings_for(bound, WebSettings())
        assert set(settings.allowed_hosts) == {"localhost", "127.0.0.1", "[::1]"}
        assert not settings.any_address


def test_an_open_address_answers_to_addresses_and_warns(monkeypatch):
    with closing(bind("0.0.0.0", 0)) as bound:
        settings = settings_for(bound, WebSettings(allowed_hosts=("tales.example",)))
        assert settings.any_address
        assert {"tales.example", "localhost", socket.gethostname()} <= set(settings.allowed_hosts)
        assert address_url(bound).startswith("http://127.0.0.1:")
    monkeypatch.setattr(server_module.Server, "run", lambda self, on_ready: (on_ready(self.url), self._leave()))
    said = {"warned": [], "ready": []}
    for host in ("0.0.0.0", "127.0.0.1"):
        serve(create_app([FakeModel()]), host, 0, on_ready=said["ready"].append, on_warning=said["warned"].append)
    assert len(said["ready"]) == 2
    assert len(said["warned"]) == 1
    assert "no password" in said["warned"][0]


@pytest.mark.parametrize(
    ("host", "more", "public"),
    [
        ("127.0.0.1", {}, False),
        ("0.0.0.0", {}, True),
        ("127.0.0.1", {"behind_proxy": True}, True),
        ("127.0.0.1", {"prefix": "/user/jane"}, True),
        ("127.0.0.1", {"allowed_hosts": (*LOOPBACK_HOSTS, "hub.example")}, True),
    ],
)
def test_a_history_is_kept_unasked_only_where_nobody_else_comes(host, more, public):
    with closing(bind(host, 0)) as bound:
        settings = settings_for(bound, WebSettings(history="auto", **more))
        assert (settings.public, settings.history) == (public, "off" if public else "on")
        for asked in ("on", "off", "hidden"):
            assert settings_for(bound, WebSettings(history=asked, **more)).history == asked


@pytest.fixture
def at_once(monkeypatch):
    """Let servers end as soon as they are ready, and collect what they were."""
    servers = []
    monkeypatch.setattr(server_module.Server, "run", lambda self, on_ready: (servers.append(self), self._leave()))
    return servers


def test_models_of_one_name_are_told_apart_aloud(at_once, trained_once, tmp_path):
    folders = [shutil.copytree(trained_once, tmp_path / home / "fox") for home in ("monday", "tuesday")]
    said = []
    serve_models(folders, port=0, settings=WebSettings(), on_warning=said.append)
    assert said == ["2 models are called fox; they are offered as fox-monday, fox-tuesday."]


def test_the_warnings_of_a_model_are_said_aloud(at_once, run):
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {"warnings": ["The vocabulary is a placeholder."]}))
    for at_start in (1, 8):
        said = []
        settings = WebSettings(models_at_start=at_start)
        serve_models(["builtin:stories", run], port=0, settings=settings, on_warning=said.append)
        assert said == ["fox: The vocabulary is a placeholder."]


def test_damage_to_the_figures_of_a_model_is_said_aloud(at_once, run):
    with (run / "metrics.jsonl").open("a") as file:
        file.write("[" * 100_000)
    said = []
    serve_models([run], port=0, on_warning=said.append)
    assert said == ["fox: metrics.jsonl: 1 line left out because of damage."]


@pytest.mark.skipif(native_library() is None, reason="unrolled was installed without a C compiler")
def test_rounded_weights_are_said_aloud_where_they_are_in_use(at_once, trained_once, monkeypatch):
    settings = {asked: WebSettings(decoding=asked) for asked in ("float32", "bfloat16")}
    notes, warnings = [], []
    for asked in settings.values():
        serve_models([trained_once], port=0, settings=asked, on_note=notes.append)
    assert len(notes) == 1
    assert notes[0].startswith("Decoding with bfloat16 weights")
    monkeypatch.setattr("unrolled.decoding.native_decoder.native_library", lambda: None)
    serve_models(
        [trained_once], port=0, settings=settings["bfloat16"], on_note=notes.append, on_warning=warnings.append
    )
    assert len(notes) == len(warnings) == 1
    assert "float32 is used instead" in warnings[0]


def test_where_no_history_can_be_kept_a_server_does_without_unless_it_was_asked_for(at_once, trained_once, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    said = []
    settings = {"history_file": blocked / "history.sqlite3"}
    serve_models([trained_once], port=0, settings=WebSettings(history="auto", **settings), on_warning=said.append)
    assert len(at_once) == len(said) == 1
    assert said[0].startswith("No history is stored: ")
    with pytest.raises(UserError, match="--history-file"):
        serve_models([trained_once], port=0, settings=WebSettings(history="on", **settings))


@pytest.mark.parametrize("history", ["auto", "on"])
def test_a_history_that_cannot_be_written_is_served_with_a_warning(
    at_once, trained_once, tmp_path, monkeypatch, history
):
    settings = WebSettings(history=history, history_file=tmp_path / "h.sqlite3")
    serve_models([trained_once], port=0, settings=settings)
    opened = sqlite3.connect
    monkeypatch.setattr(
        sqlite3, "connect", lambda address, **more: opened(address.replace("mode=rw", "mode=ro"), **more)
    )
    notes, warnings = [], []
    serve_models([trained_once], port=0, settings=settings, on_note=notes.append, on_warning=warnings.append)
    assert len(at_once) == 2
    assert not notes
    assert warnings[0].startswith(f"New samples are not stored in the history {settings.history_file}: no file can")


def test_a_history_that_everyone_may_read_comes_with_a_warning(at_once, trained_once, tmp_path):
    for history, words in (("on", "can read and delete its history"), ("hidden", "no password")):
        said = []
        settings = WebSettings(history=history, history_file=tmp_path / "h.sqlite3")
        serve_models([trained_once], "0.0.0.0", 0, settings=settings, on_warning=said.append)
        assert words in said[-1]


def test_a_server_tidies_its_history_while_it_runs(served, tmp_path):
    app = create_app([FakeModel()], WebSettings(history="on", history_file=tmp_path / "h.sqlite3"))
    server = served(app)
    with connect(server) as connection:
        connection.request("GET", "/health")
        connection.getresponse().read()
    assert any(thread.name == "history" for thread in threading.enumerate())
    server.stop()
    for thread in threading.enumerate():
        if thread.name == "history":
            thread.join(30)
    assert not any(thread.name == "history" for thread in threading.enumerate())


SERVE = """
import sys
from tests_web.fakes import FakeModel
from unrolled.web import create_app, serve
serve(create_app([FakeModel()]), port=0, on_ready=lambda url: print(url, flush=True))
print("ended", flush=True)
"""


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_server_in_peace(number, tmp_path):
    (tmp_path / "tests_web").symlink_to(os.path.dirname(__file__))
    paths = [str(tmp_path), os.path.dirname(os.path.dirname(server_module.__file__ + "/..")), *sys.path]
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in paths if path)},
    )
    with process:
        assert process.stdout.readline().startswith("http://127.0.0.1:")
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "ended\n", "")
