"""Behind a real nginx: with any prefix, stripped or not, every route works, text streams, and names are checked."""

import http.client
import json
import re
import threading
import urllib.parse
from contextlib import closing

import pytest

from tests.web.fakes import FakeModel
from tests.web.proxies import FORWARDED, KEPT, STRIPPED
from unrolled.serving.settings import LOOPBACK_HOSTS, WebSettings
from unrolled.web.app import create_app

PREFIXES = {"stripped": "/user/jane%40x/proxy/5000/", "kept": "/kept/tales/", "forwarded": "/forwarded/"}
LOCATIONS = {"stripped": STRIPPED, "kept": KEPT, "forwarded": FORWARDED}


@pytest.fixture
def model():
    return FakeModel()


@pytest.fixture
def open_door(nginx, served, model, tmp_path):
    """Return a function that serves the model behind nginx in one of the ways, and gives (host and port, prefix)."""

    def start(way, **more):
        settings = {
            "prefix": "/kept/tales" if way == "kept" else "",
            "behind_proxy": way == "forwarded",
            "history": "on",
            "history_file": tmp_path / "history.sqlite3",
        }
        server = served(create_app([model, FakeModel("Second")], WebSettings(**(settings | more))))
        return urllib.parse.urlsplit(nginx(server, LOCATIONS[way])).netloc, PREFIXES[way]

    return start


def ask(door, method, path, body=None, headers=None):
    with closing(http.client.HTTPConnection(door, timeout=30)) as connection:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response, response.read().decode()


def form(**fields):
    return urllib.parse.urlencode(fields), {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.mark.parametrize("way", LOCATIONS)
def test_every_link_form_and_asset_of_every_page_leads_below_the_prefix(open_door, model, way):
    door, prefix = open_door(way)
    pages = [
        ("GET", prefix, None, {}),
        ("POST", prefix, *form(prompt="Once", max_tokens=5, seed=0)),
        ("GET", prefix + "history?q=once", None, {}),
        ("GET", prefix + "no/such/page", None, {}),
    ]
    known = {"", "static/page.css", "static/page.js", "static/favicon.svg", "stream", "history", "openapi.json"}
    known |= {"history.csv?q=once", "history.jsonl?q=once"}
    for method, path, body, headers in pages:
        _, page = ask(door, method, path, body, headers)
        links = re.findall(r'(?:href|src|action|data-stream)="([^"]*)"', page)
        assert len(links) >= 4
        for link in links:
            target = urllib.parse.urljoin(f"http://{door}{path}", link)
            assert target.startswith(f"http://{door}{prefix}")
            assert target.removeprefix(f"http://{door}{prefix}") in known
            response, _ = ask(door, "GET", target.removeprefix(f"http://{door}"))
            assert response.status in (200, 405)


@pytest.mark.parametrize("way", LOCATIONS)
def test_form_interface_and_deletion_work_below_the_prefix(open_door, model, way):
    door, prefix = open_door(way)
    response, page = ask(door, "POST", prefix, *form(prompt="Once", max_tokens=5, seed=0))
    assert f'<span id="written" class="written">{model.text(0, 5)}</span>' in page
    response, text = ask(
        door, "POST", prefix + "api/generate", '{"seed": 1, "max_tokens": 4}', {"Content-Type": "application/json"}
    )
    assert json.loads(text)["samples"][0]["text"] == model.text(1, 4)
    _, text = ask(door, "GET", prefix + "history.jsonl")
    assert [json.loads(line)["text"] for line in text.splitlines()] == [model.text(0, 5), model.text(1, 4)]
    response, _ = ask(door, "POST", prefix + "history", *form(delete="matching"))
    assert response.status == 303
    back = urllib.parse.urljoin(f"http://{door}{prefix}history", response.getheader("Location"))
    assert back == f"http://{door}{prefix}history"
    assert "Nothing is stored yet." in ask(door, "GET", prefix + "history")[1]


@pytest.mark.parametrize("way", LOCATIONS)
def test_the_first_letters_pass_the_proxy_while_the_model_still_writes(open_door, model, way):
    gate = threading.Event()
    model.gates[3] = gate
    door, prefix = open_door(way)
    try:
        with closing(http.client.HTTPConnection(door, timeout=30)) as connection:
            connection.request("POST", prefix + "stream", *form(max_tokens=6, seed=0))
            response = connection.getresponse()
            assert [json.loads(response.readline())["text"] for _ in range(3)] == ["t", "h", "e"]
            assert not gate.is_set()
            gate.set()
            assert json.loads(response.read().splitlines()[-1])["tokens"] == 6
    finally:
        gate.set()


def test_the_prefix_without_its_last_slash_leads_to_the_page(open_door):
    door, _ = open_door("kept")
    response, _ = ask(door, "GET", "/kept/tales")
    assert response.status == 308
    assert urllib.parse.urljoin(f"http://{door}/kept/tales", response.getheader("Location")) == (
        f"http://{door}/kept/tales/"
    )


def test_a_visitors_host_name_must_be_one_that_was_given(open_door):
    door, prefix = open_door("stripped")
    assert ask(door, "GET", prefix, None, {"Host": "hub.example"})[0].status == 400
    assert "--allow-host" in ask(door, "GET", prefix, None, {"Host": "hub.example"})[1]


@pytest.mark.parametrize("way", ["stripped", "forwarded"])
def test_a_host_name_that_was_given_is_answered(open_door, way):
    door, prefix = open_door(way, allowed_hosts=(*LOOPBACK_HOSTS, "hub.example"))
    assert ask(door, "GET", prefix, None, {"Host": "hub.example"})[0].status == 200
    assert ask(door, "GET", prefix, None, {"Host": "evil.example"})[0].status == 400


def test_forwarded_headers_count_only_where_they_are_trusted_and_never_hide_the_real_name(served, model):
    forged = {"X-Forwarded-Host": "hub.example", "X-Forwarded-Prefix": "/x", "X-Forwarded-For": "1.2.3.4"}
    names = (*LOOPBACK_HOSTS, "hub.example")
    plain = served(create_app([model], WebSettings(allowed_hosts=LOOPBACK_HOSTS)))
    trusting = served(create_app([model], WebSettings(allowed_hosts=names, behind_proxy=True)))
    strict = served(create_app([model], WebSettings(behind_proxy=True)))

    def status(server, path="/health", **headers):
        return ask(urllib.parse.urlsplit(server.url).netloc, "GET", path, None, headers)[0].status

    assert status(plain, **forged) == 200  # not looked at
    assert status(plain, **forged, Host="evil.example") == 400
    assert status(trusting, **forged) == 200
    assert status(trusting, **forged, Host="evil.example") == 400  # a page that rebinds its name can send the rest
    assert status(strict, **forged) == 400
    assert status(trusting, "/x/health", **forged) == 200
    assert status(plain, "/x/health", **forged) == 404


def test_a_form_of_another_site_is_refused_behind_a_proxy_too(open_door, model):
    door, prefix = open_door("forwarded", allowed_hosts=(*LOOPBACK_HOSTS, "hub.example"))
    body, headers = form(max_tokens=1)
    headers["Host"] = "hub.example"
    for origin, status in (("https://hub.example", 200), ("https://evil.example", 403), ("null", 403)):
        assert ask(door, "POST", prefix, body, headers | {"Origin": origin})[0].status == status
    assert len(model.asked) == 1
