"""The JSON object in the body of a request, read the same way by the page's stream and by the JSON API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from unrolled.errors import UserError
from unrolled.strict_json import parse_json

Pairs = TypeVar("Pairs")


def read_object(body: bytes, make: type[Pairs], number_hook: Callable[[str], Any]) -> Pairs:
    """Return the object in a body.

    Args:
        body: JSON in UTF-8.
        make: makes an object's value from its (name, value) pairs; may raise UserError.
        number_hook: makes a value from a number's text.

    Raises:
        UserError: the body is not one JSON object.
    """
    try:
        value = parse_json(body.decode("utf-8"), pairs_hook=make, number_hook=number_hook)
    except ValueError:  # not UTF-8, or a JsonProblem
        raise UserError("The body is not readable as JSON; send one object in UTF-8.") from None
    if not isinstance(value, make):
        raise UserError('The body must be one JSON object, such as {"prompt": "Once upon a time"}.')
    return value
