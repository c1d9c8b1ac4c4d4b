"""Messages about invalid settings, on the command line and in the API: value, rule and remedy, without Python."""

import json
import re

import pytest

from unrolled.config import MAX_PROBLEMS, make_settings, sampling_settings, settings_from_values
from unrolled.errors import UserError
from unrolled.serving.settings import WebSettings
from unrolled.web.api.routes import read_request

PYTHON = re.compile(
    r"\b(tuple|dict|list\[|dictionary|instance|NoneType|None|True|False|str|int|float|Settings\(|pydantic|validat\w+"
    r"|integer|surrogates not allowed|Input|object at)\b|\('|\['"
)
WRONG = [
    ({"stop": ["x"] * 65}, 'stop = ["x", "x", ', "should have at most 64 texts, not 65"),
    ({"stop": ["x"] * 100_000}, 'stop = ["x", "x", ', "should have at most 64 texts, not 100,000"),
    ({"stop": {"a": ["b"]}}, 'stop = {"a": ["b"]}', "should be text or a list of texts"),
    ({"stop": 7}, "stop = 7", "should be text or a list of texts"),
    ({"stop": None}, "stop = null", "should be text or a list of texts"),
    ({"stop": ["a", None]}, "stop.1 = null", "should be text"),
    ({"stop": ["a", ["b"]]}, 'stop.1 = ["b"]', "should be text"),
    ({"stop": ["a", ""]}, "stop.1 = ''", "should not be empty"),
    ({"stop": ["x" * 2_000]}, "stop.0 = 'xxx", "should have at most "),
    ({"temperature": []}, "temperature = []", "should be a number"),
    ({"temperature": {"a": {"b": {"c": {"d": 1}}}}}, 'temperature = {"a": {"b": {"c": "..."}}}', "should be a number"),
    ({"temperature": None}, "temperature = null", "should be a number"),
    ({"temperature": "warm"}, "temperature = 'warm'", "should be a number"),
    ({"temperature": True}, "temperature = true", "should not be true or false"),
    ({"temperature": -1}, "temperature = -1", "should be greater than or equal to 0"),
    ({"repetition_penalty": 5e-324}, "repetition_penalty = 5e-324", "should be greater than or equal to 0.01"),
    ({"top_k": 1.5}, "top_k = 1.5", "should be a whole number"),
    ({"top_k": "many"}, "top_k = 'many'", "should be a whole number"),
    ({"top_k": 10**400}, "top_k = a number of hundreds of digits", "should be"),
    ({"top_k": [1] * 9_999}, "top_k = [1, 1, ", "should be a whole number"),
    ({"seed": 2**63}, "seed = 9223372036854775808", "should be less than or equal to 9223372036854775807"),
    ({"unknown_token": 7}, "unknown_token = 7", "should be 'banned' or 'allowed'"),
    ({"unknown_token": "x" * 99_999}, "unknown_token = 'xxx", "should be 'banned' or 'allowed'"),
    ({"temprature": 1}, "'temprature'", "did you mean temperature?"),
    ({"x" * 99_999: 1}, "there is no setting named 'xxx", "known: max_tokens"),
]


def check(message, value, rule):
    assert value in message
    assert rule in message
    assert not PYTHON.search(message), message
    assert len(message) < 700


@pytest.mark.parametrize(("values", "value", "rule"), WRONG)
def test_invalid_sampling_settings_are_explained_without_python(values, value, rule):
    with pytest.raises(UserError) as caught:
        sampling_settings(values)
    check(str(caught.value), value, rule)


@pytest.mark.parametrize(("values", "value", "rule"), WRONG)
def test_the_api_explains_them_as_well(values, value, rule):
    rule = rule.replace("64 texts", "16 texts")
    with pytest.raises(UserError) as caught:
        read_request(json.dumps(values).encode(), WebSettings(), ["m"])
    check(str(caught.value), value, rule)


@pytest.mark.parametrize(
    ("options", "value", "rule"),
    [
        (["--stop", "x"] * 65, 'stop = ["x", "x", ', "should have at most 64 texts, not 65"),
        (["--stop", ""], "stop.0 = ''", "should not be empty"),
        (["--unknown-token", "x"], "unknown_token = 'x'", "should be 'banned' or 'allowed'"),
        (["--repetition-penalty", "5e-324"], "repetition_penalty = 5e-324", "greater than or equal to 0.01"),
        (["--typical-p", "0"], "typical_p = 0.0", "greater than or equal to 0.001"),
        (["--temperature", "nan"], "temperature = NaN", "should be a finite number"),
        (["--temperature", "-inf"], "temperature = -Infinity", "should be a finite number"),
        (["--seed", "9" * 40], "seed = 999", "should be less than or equal to 9223372036854775807"),
    ],
)
def test_the_command_line_explains_them_too(cli, trained_once, options, value, rule):
    done = cli("generate", trained_once, "On", *options)
    assert done.status == 2
    check(done.err, value, rule)


@pytest.mark.parametrize(
    ("values", "value", "rule"),
    [
        ({"sampling.stop": '["a", 7]'}, "sampling.stop.1 = 7", "should be text"),
        ({"sampling.stop": "[" * 5_000}, "sampling.stop.0 = '[[[", "should have at most 1,000 characters"),
        ({"model.hidden_size": "9" * 5_000}, "model.hidden_size = '999", "fewer digits"),
        ({"model.hidden_size": 10**5_000}, "hidden_size = a number of hundreds of digits", "should be"),
        ({"model.hidden_size": "\ud800"}, "model.hidden_size = '\\ud800'", "should be text without unpaired"),
        ({"training.device": "\ud800"}, "training.device = '\\ud800'", "should be text"),
        ({"training.device": b"\xff"}, "training.device = ", "should be text"),
        ({"training.kernel": ["native"]}, 'training.kernel = ["native"]', "should be 'auto', 'reference'"),
        ({"training.minutes": "soon"}, "training.minutes = 'soon'", "should be a number"),
        ({"training.clip_norm": "5e-324"}, "training.clip_norm = '5e-324'", "greater than or equal to 0.000001"),
    ],
)
def test_settings_of_a_training_run_are_explained_without_python(values, value, rule):
    with pytest.raises(UserError) as caught:
        make_settings(overrides=values)
    check(str(caught.value), value, rule)


@pytest.mark.parametrize("value", [3, None, True, "x", [1, 2], [["a"]]])
def test_a_value_in_place_of_a_group_of_settings_is_explained_without_python(value):
    with pytest.raises(UserError) as caught:
        settings_from_values({"model": value})
    check(str(caught.value), f"model = {json.dumps(value)}".replace('"x"', "'x'"), "should")


def test_of_many_problems_the_first_are_listed_and_the_rest_counted():
    with pytest.raises(UserError) as caught:
        sampling_settings({f"no_such_{number}": 1 for number in range(30_000)})
    lines = str(caught.value).splitlines()
    assert len(lines) == 1 + MAX_PROBLEMS + 1
    assert lines[-1] == f"  - {30_000 - MAX_PROBLEMS:,} more problems"
