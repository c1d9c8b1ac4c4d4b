"""The settings of a server, and that the documentation names them all with their values."""

from dataclasses import fields
from pathlib import Path

import pytest

from unrolled.serving.settings import WebSettings

PAGE = (Path(__file__).parents[2] / "docs" / "serving.md").read_text("utf-8")
LIMITS = [field for field in fields(WebSettings) if type(field.default) in (int, float) and field.name != "keep_days"]


@pytest.mark.parametrize("name", [field.name for field in fields(WebSettings)])
def test_every_setting_is_named_in_the_documentation(name):
    assert f"`{name}`" in PAGE


@pytest.mark.parametrize("limit", LIMITS, ids=lambda field: field.name)
def test_the_documentation_tells_the_true_value_of_every_limit(limit):
    assert f"| `{limit.name}` | {limit.default:,g} |" in PAGE
