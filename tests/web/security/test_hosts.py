"""Host headers: own names pass with any port, everything else is refused."""

import pytest

from unrolled.errors import UserError
from unrolled.serving.settings import WebSettings
from unrolled.web.security.hosts import host_is_allowed, hosts_of, is_own_site, read_host

LOOPBACK = WebSettings()
OPEN = WebSettings(any_address=True, allowed_hosts=("stories.example",))


OWN = [
    "localhost",
    "localhost:5000",
    "LOCALHOST:1",
    "localhost.",
    "127.0.0.1",
    "127.0.0.1:65535",
    "[::1]",
    "[::1]:5000",
]
FOREIGN = [
    None,
    "",
    "evil.example",
    "evil.example:5000",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "127.0.0.2",
]
FOREIGN += ["localhost:65536", "localhost:x", "localhost:", "localhost@evil.example", "[::2]", "::1", "a b", "0.0.0.0"]
FOREIGN += ["localhost\n", "10.0.0.1"]


@pytest.mark.parametrize("header", OWN)
def test_own_names_are_answered_whatever_the_port(header):
    assert host_is_allowed(header, LOOPBACK)


@pytest.mark.parametrize("header", FOREIGN)
def test_any_other_name_is_refused_on_loopback(header):
    assert not host_is_allowed(header, LOOPBACK)


def test_an_open_server_answers_to_addresses_and_given_names_but_to_no_other_name():
    assert host_is_allowed("192.168.1.7:5000", OPEN)
    assert host_is_allowed("[fe80::1]:5000", OPEN)
    assert host_is_allowed("Stories.example", OPEN)
    assert not host_is_allowed("evil.example", OPEN)
    assert not host_is_allowed("localhost", OPEN)


@pytest.mark.parametrize(
    ("site", "origin", "own"),
    [
        (None, None, True),  # a program
        ("same-origin", "https://hub.example", True),  # over a proxy that does not say by which name it was called
        ("none", None, True),
        ("same-site", "http://localhost:5000", False),
        ("cross-site", None, False),
        ("cross-site", "http://localhost:5000", False),
        (None, "http://localhost:5000", True),
        (None, "http://LOCALHOST:5000", True),
        (None, "http://hub.example", True),
        (None, "http://localhost", False),
        (None, "http://localhost:8888", False),
        (None, "http://evil.example", False),
        (None, "null", False),
        (None, "", False),
        (None, "http://[", False),
    ],
)
def test_a_form_is_our_own_if_the_browser_says_so_or_its_origin_is_where_it_was_sent(site, origin, own):
    assert is_own_site(site, origin, ["localhost:5000", "hub.example", None]) is own


def test_behind_a_proxy_both_names_count():
    assert hosts_of({"HTTP_HOST": "a"}) == ["a", "a"]
    assert hosts_of({"HTTP_HOST": "a", "werkzeug.proxy_fix.orig": {"HTTP_HOST": "b"}}) == ["a", "b"]
    assert hosts_of({}) == [None, None]


@pytest.mark.parametrize(
    ("text", "name"), [("Hub.Example.org.", "hub.example.org"), ("h:8000", "h"), ("[::1]", "[::1]")]
)
def test_a_given_name_is_kept_as_a_host_header_writes_it(text, name):
    assert read_host(text) == name


@pytest.mark.parametrize("text", ["", "*", "https://hub.example", "a b", "hub/x", "é.example", "a,b"])
def test_what_is_no_host_name_is_refused(text):
    with pytest.raises(UserError, match="--allow-host hub"):
        read_host(text)
