"""One reader of request bodies: both interfaces refuse the same bodies in the same words."""

import pytest

from unrolled.errors import UserError
from unrolled.serving.settings import WebSettings
from unrolled.web.api.routes import read_request
from unrolled.web.json_object import read_object
from unrolled.web.pages.form_reading import json_fields


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"1", b"null", b"\xff{}", b"\xef\xbb\xbf{}", b"[" * 100_000])
def test_both_interfaces_refuse_a_body_that_is_not_one_object_in_the_same_words(body):
    with pytest.raises(UserError) as by_page:
        json_fields(body)
    with pytest.raises(UserError) as by_program:
        read_request(body, WebSettings(), ["a"])
    assert str(by_page.value) == str(by_program.value)


def test_objects_inside_the_object_are_made_the_same_way():
    class Names(list):
        pass

    value = read_object(b'{"a": {"b": 1.50}, "a": 2}', Names, str)
    assert value == [("a", [("b", "1.50")]), ("a", "2")]
    assert type(value[0][1]) is Names
