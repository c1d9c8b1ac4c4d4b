"""Host headers: own names pass with any port, everything else is refused."""

import pytest

from unrolled.web.hosts import host_is_allowed
from unrolled.web.settings import WebSettings

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
