"""A served model with a custom part: the page, its stream and the API generate what its forward pass computes."""

import html
import json
import re

import pytest

from tests.decoding.own_part import sharing_weights, texts_of
from unrolled.trained import load
from unrolled.web.app import create_app

PROMPT = "On day"
SENT = {"seed": 5, "max_tokens": 30, "temperature": 0.9, "repetition_penalty": 1.3}
FORM = {"prompt": PROMPT, **{name: str(value) for name, value in SENT.items()}}


@pytest.fixture
def trained(trained_once):
    trained = load(trained_once, device="cpu")
    trained.network = sharing_weights(trained.network)
    return trained


@pytest.fixture
def client(trained):
    return create_app([trained]).test_client()


def expected(trained, **values):
    return texts_of(trained.network, trained.tokenizer, PROMPT, trained.sampling({**SENT, **values}))


def test_the_api_writes_it(client, trained):
    answer = client.post("/api/generate", json={"prompt": PROMPT, **SENT, "n": 3, "top_k": 7}).json
    assert [sample["text"] for sample in answer["samples"]] == expected(trained, n=3, top_k=7)


def test_the_stream_of_the_page_writes_it(client, trained):
    lines = client.post("/stream", data=FORM).text.splitlines()
    assert "".join(json.loads(line).get("text", "") for line in lines) == expected(trained)[0]


def test_the_page_without_a_script_shows_it(client, trained):
    page = client.post("/", data=FORM).get_data(as_text=True)
    continued = re.search(r'<input type="hidden" name="prompt" value="([^"]*)"', page)[1]
    assert html.unescape(continued) == PROMPT + expected(trained)[0]
