"""Prefixes: what is stripped from a path, what remains, and that relative links resolve from any page."""

from urllib.parse import urljoin

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.errors import UserError
from unrolled.web.security.prefix import PrefixStripped, read_prefix, relative


def seen(prefix, path, script=""):
    """Return what the application inside sees of a request: (SCRIPT_NAME, PATH_INFO), or the answer before it."""
    found = []

    def application(environ, start_response):
        found.append((environ["SCRIPT_NAME"], environ["PATH_INFO"]))
        return []

    def start_response(status, headers):
        found.append((status, dict(headers)["Location"]))

    PrefixStripped(application, prefix)({"PATH_INFO": path, "SCRIPT_NAME": script}, start_response)
    return found[0]


@pytest.mark.parametrize(
    ("prefix", "path", "script", "expected"),
    [
        ("/a/b", "/a/b/", "", ("/a/b", "/")),
        ("/a/b", "/a/b/stream", "", ("/a/b", "/stream")),
        ("/a/b", "/stream", "", ("", "/stream")),  # the proxy took it off
        ("/a/b", "/a/bc", "", ("", "/a/bc")),
        ("", "/x/y/", "/x/y", ("/x/y", "/")),  # a proxy that names it and leaves it on
        ("", "/stream", "/x/y/", ("/x/y/", "/stream")),
        ("/ä", "/ä/".encode().decode("latin-1"), "", ("/ä".encode().decode("latin-1"), "/")),
        ("/a/b", "/a/b", "", ("308 Permanent Redirect", "./b/")),
        ("/jane é", "/jane é".encode().decode("latin-1"), "", ("308 Permanent Redirect", "./jane%20%C3%A9/")),
        ("", "//evil.example", "//evil.example", ("308 Permanent Redirect", "./evil.example/")),
    ],
)
def test_a_prefix_is_taken_off_wherever_it_is_left_on(prefix, path, script, expected):
    assert seen(prefix, path, script) == expected


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("", ""),
        ("/", ""),
        ("a/b", "/a/b"),
        ("/user/jane/proxy/5000/", "/user/jane/proxy/5000"),
        ("/user/jane%40x%C3%A9/", "/user/jane@xé"),
    ],
)
def test_a_prefix_is_kept_decoded_with_one_slash_before_it(text, kept):
    assert read_prefix(text) == kept


@pytest.mark.parametrize("text", ["/a//b", "/a/../b", "/./a", "/a?b", "/a#b", "/a%00b", '/a"b', "/a\nb", "https://x/a"])
def test_what_is_no_path_is_refused(text):
    with pytest.raises(UserError, match="--prefix /user/NAME/proxy/5000/"):
        read_prefix(text)


PARTS = st.lists(st.text("abc.-_", min_size=1).filter(lambda part: part not in (".", "..")), max_size=4)


@given(PARTS, PARTS, st.booleans(), st.sampled_from(["", "history", "static/page.css", "history?q=a"]))
def test_a_relative_link_leads_below_the_prefix_from_every_page(prefix, path, slash, target):
    root = "".join(f"/{part}" for part in prefix) + "/"
    page = "/" + "/".join(path) + ("/" if slash and path else "")
    assert urljoin(f"http://hub.example{root}{page[1:]}", relative(page, target)) == f"http://hub.example{root}{target}"
