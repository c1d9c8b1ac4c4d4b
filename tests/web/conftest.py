"""An application around the scripted model, and a served one with real sockets."""

import threading

import pytest

from tests.web.fakes import FakeModel
from tests.web.proxies import nginx as nginx
from unrolled.web.app import create_app
from unrolled.web.server import Server, bind


@pytest.fixture
def model():
    return FakeModel()


@pytest.fixture
def client(model):
    app = create_app([model, FakeModel("Fresh run")])
    app.testing = True
    return app.test_client()


@pytest.fixture
def served():
    """Return a function that serves an application on a free port and gives the server; all end with the test."""
    running = []

    def start(app):
        server = Server(app, bind("127.0.0.1", 0))
        thread = threading.Thread(target=server.run)
        thread.start()
        running.append((server, thread))
        return server

    yield start
    for server, thread in running:
        server.stop()
        thread.join(30)
        assert not thread.is_alive()
