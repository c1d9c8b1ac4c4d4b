"""The options of `unrolled serve` as settings, and what is refused."""

from pathlib import Path

import pytest

from unrolled.errors import UserError
from unrolled.serving.settings import LOOPBACK_HOSTS, WebSettings
from unrolled.web.options import settings_from_options


def test_without_options_the_settings_are_the_usual_ones_with_a_history_where_it_is_private():
    assert settings_from_options() == WebSettings(history="auto")


def test_every_option_reaches_its_setting():
    assert settings_from_options(
        prefix="/user/jane/proxy/5000/",
        behind_proxy=True,
        allow_host=["Hub.example:443", "other"],
        history="hidden",
        history_file=Path("h"),
        keep_days=0,
        models_at_start=1,
        decoding="bfloat16",
    ) == WebSettings(
        prefix="/user/jane/proxy/5000",
        behind_proxy=True,
        allowed_hosts=(*LOOPBACK_HOSTS, "hub.example", "other"),
        history="hidden",
        history_file=Path("h"),
        keep_days=0,
        models_at_start=1,
        decoding="bfloat16",
    )


@pytest.mark.parametrize(
    "options",
    [{"keep_days": -1}, {"keep_days": 10**9}, {"models_at_start": 0}, {"allow_host": ["*"]}, {"prefix": "/a?b"}],
)
def test_what_cannot_be_meant_names_the_option(options):
    (name,) = options
    with pytest.raises(UserError, match=f"--{name.replace('_', '-')} "):
        settings_from_options(**options)
