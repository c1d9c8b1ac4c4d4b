"""The JSON API: what it accepts, what it refuses with which message, and that its own description is true."""

import json
import threading

import jsonschema
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.web.fakes import FakeModel
from unrolled.config import SamplingSettings
from unrolled.errors import UserError
from unrolled.serving.models import ModelFolder
from unrolled.serving.settings import WebSettings
from unrolled.web.app import create_app

OWN = SamplingSettings(max_tokens=6, temperature=0.35, top_k=9)


@pytest.fixture
def talker():
    return FakeModel("Talker", kind="word", sampling=OWN)


@pytest.fixture
def client(model, talker):
    return create_app([model, talker]).test_client()


@pytest.fixture
def document(client):
    return client.get("/openapi.json").json


def check(document, name, value):
    """Hold a value against a schema of the document, as a program that knows nothing else would."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    jsonschema.Draft202012Validator(schema).validate(value)


def test_a_request_is_answered_like_the_command_line(client, model, document):
    response = client.post("/api/generate", json={"prompt": "Zoë", "seed": 5, "n": 3, "max_tokens": 4})
    assert response.status_code == 200
    assert response.json == {
        "seed": 5,
        "samples": [
            {"text": model.text(5 + j, 4), "finish_reason": "length", "tokens": 4, "seed": 5 + j} for j in range(3)
        ],
        "prompt": "Zoë",
        "unknown": ["ë"],
        "model": "stories",
        "warnings": [],
        "note": None,
    }
    assert list(response.json) == ["seed", "samples", "prompt", "unknown", "model", "warnings", "note"]
    check(document, "GenerateAnswer", response.json)


def test_what_is_not_given_is_the_models_own(client, talker):
    answer = client.post("/api/generate", json={"model": "talker", "top_k": 4}).json
    assert answer["samples"][0]["tokens"] == 6
    ((_, reached),) = talker.asked
    assert reached == talker.settings.sampling.model_copy(update={"n": 1, "top_k": 4, "seed": answer["seed"]})
    assert (
        client.post("/api/generate", json={"seed": answer["seed"], "model": "talker"}).json["samples"]
        == (answer["samples"])
    )


def test_every_setting_reaches_the_model_under_its_name(client, model):
    given = {
        "max_tokens": 4, "min_tokens": 2, "temperature": 1, "top_k": 3, "top_p": 0.5, "min_p": 0.25, "typical_p": 0.75,
        "repetition_penalty": 1.5, "repetition_window": 0, "presence_penalty": -1, "frequency_penalty": 0.5,
        "stop": ["a", "b"], "unknown_token": "allowed", "n": 2, "seed": -3,
    }  # fmt: skip
    assert set(given) == set(SamplingSettings.model_fields)
    assert client.post("/api/generate", json={"prompt": "x"} | given).status_code == 200
    assert model.asked == [("x", SamplingSettings(**given))]
    assert client.post("/api/generate", json={"stop": "ab"}).status_code == 200
    assert model.asked[1][1].stop == ("ab",)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"temprature": 1}, "did you mean temperature?"),
        ({"max-tokens": 1}, "did you mean max_tokens"),
        ({"temperature": "0.5"}, "temperature = '0.5' should be a number without quotes"),
        ({"max_tokens": 5.0}, "max_tokens = 5.0 should be a whole number"),
        ({"max_tokens": 2001}, "max_tokens = 2001 should be less than or equal to 2000"),
        ({"max_tokens": -1}, "max_tokens = -1"),
        ({"temperature": 5.5}, "temperature = 5.5"),
        ({"n": 17}, "n = 17"),
        ({"n": 16, "max_tokens": 2000}, "n * max_tokens is 32,000"),
        ({"n": True}, "should not be true or false"),
        ({"top_k": None}, "top_k = null should be a whole number"),
        ({"prompt": 5}, "prompt = 5 should be text"),
        ({"prompt": "x" * 10_001}, "prompt = "),
        ({"stop": ["a", 5]}, "stop.1 = 5"),
        ({"stop": [""]}, "stop.0 = ''"),
        ({"stop": ["x"] * 17}, "should have at most 16 texts, not 17"),
        ({"stop": {"a": 1}}, 'stop = {"a": 1} should be text or a list of texts'),
        ({"unknown_token": "yes"}, "unknown_token = 'yes'"),
        ({"seed": 2**63}, "seed = 9223372036854775808"),
        ({"seed": "1"}, "seed = '1'"),
        ([1], "one JSON object"),
        ("text", "one JSON object"),
        (b"{", "not readable as JSON"),
        (b"\xff", "not readable as JSON"),
        (b"[" * 100_000, "not readable as JSON"),
        (b'{"seed": 1' + b"0" * 5000 + b"}", "not readable as JSON"),
        (b'{"seed": 1, "seed": 2}', "'seed' was sent twice"),
        (b'{"top_p": NaN}', "top_p"),
        (b'{"temperature": 1e999}', "temperature"),
    ],
)
def test_a_bad_request_is_a_400_in_plain_words_and_nothing_is_written(client, model, document, body, words):
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = client.post("/api/generate", data=body, content_type="application/json")
    assert response.status_code == 400
    assert words in response.json["error"]
    assert len(response.json["error"]) < 400
    check(document, "ErrorAnswer", response.json)
    assert model.opened == []


def test_all_problems_are_in_one_message(client):
    error = client.post("/api/generate", json={"top_p": 7, "n": 0, "colour": "red", "temperature": "hot"}).json["error"]
    assert all(words in error for words in ("top_p = 7", "n = 0", "'colour'", "temperature = 'hot'"))


def test_a_model_that_does_not_exist_is_a_404_with_those_that_do(client, document):
    response = client.post("/api/generate", json={"model": "../etc"})
    assert response.status_code == 404
    assert response.json == {
        "error": "There is no model '../etc'; there are: stories, talker.",
        "models": ["stories", "talker"],
    }
    check(document, "ErrorAnswer", response.json)


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", None, "application/ld+json"]
)
def test_a_body_of_another_type_is_refused_so_that_no_other_site_can_send_one(client, model, content_type):
    response = client.post("/api/generate", data=b'{"prompt": "x"}', content_type=content_type)
    assert response.status_code == 415
    assert "application/json" in response.json["error"]
    assert model.asked == []


@pytest.mark.parametrize(
    "headers", [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "http://evil.example"}]
)
def test_another_site_is_refused_and_no_preflight_allows_it(client, model, headers):
    assert client.post("/api/generate", json={}, headers=headers).status_code == 403
    preflight = client.options("/api/generate", headers=headers | {"Access-Control-Request-Method": "POST"})
    assert not [name for name, _ in preflight.headers if name.startswith("Access-Control")]
    assert model.asked == []


def test_every_error_is_json(client):
    answers = [client.get("/api/generate"), client.get("/api/none"), client.post("/api/models")]
    answers.append(client.post("/api/generate", data=b"x" * 300_000, content_type="application/json"))
    answers.append(client.get("/api/models", headers={"Host": "evil.example"}))
    assert [answer.status_code for answer in answers] == [405, 404, 405, 413, 400]
    assert all(answer.json["error"] for answer in answers)


def test_when_every_place_is_taken_an_answer_says_when_to_come_back():
    gate = threading.Event()
    app = create_app(
        [FakeModel(gates={1: gate})], WebSettings(generations_at_once=1, queue_length=0, retry_after_seconds=1)
    )
    first = app.test_client().post("/stream", data={"max_tokens": "2"}, buffered=False)
    refused = app.test_client().post("/api/generate", json={})
    gate.set()
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
    assert first.get_data()
    assert app.test_client().post("/api/generate", json={"max_tokens": 1}).status_code == 200


def test_errors_on_the_way_free_the_place_and_show_nothing_of_themselves(caplog):
    model = FakeModel(failures={1: ZeroDivisionError("secret"), 2: UserError("The weights hold NaN.")})
    client = create_app([model], WebSettings(generations_at_once=1)).test_client()
    for _ in range(2):
        broken = client.post("/api/generate", json={"max_tokens": 3})
        assert broken.status_code == 500
        assert "secret" not in broken.json["error"]
    del model.failures[1]
    refused = client.post("/api/generate", json={"max_tokens": 3})
    assert (refused.status_code, refused.json) == (400, {"error": "The weights hold NaN."})


def test_a_model_that_cannot_be_loaded_is_a_503_in_plain_words(tmp_path):
    def load():
        raise UserError("model.safetensors is damaged.")

    client = create_app([FakeModel(), ModelFolder(tmp_path / "fox", load)]).test_client()
    for path, sent in (("/api/generate", {"json": {"model": "fox"}}), ("/stream", {"data": {"model": "fox"}})):
        response = client.post(path, **sent)
        assert (response.status_code, response.json["error"]) == (
            503,
            "The model fox cannot be used. model.safetensors is damaged.",
        )
    page = client.post("/", data={"model": "fox", "prompt": "Mine"})
    assert page.status_code == 503
    assert "Mine</textarea>" in page.get_data(as_text=True)
    assert client.post("/api/generate", json={"max_tokens": 1}).status_code == 200


def test_the_models_are_listed_with_their_own_settings(client, document):
    response = client.get("/api/models")
    check(document, "ModelsAnswer", response.json)
    stories, talker = response.json["models"]
    assert (stories["id"], stories["default"], stories["loaded"], stories["vocabulary_size"]) == (
        *("stories", True, True, 89),
    )
    assert (talker["id"], talker["name"], talker["default"], talker["tokenizer"]) == ("talker", "Talker", False, "word")
    assert SamplingSettings(**talker["sampling"]) == OWN


def test_a_model_that_is_not_loaded_is_listed_and_loaded_by_its_first_text(model, tmp_path):
    client = create_app([model, ModelFolder(tmp_path / "fox", lambda: FakeModel("fox"))]).test_client()
    listed = client.get("/api/models").json["models"][1]
    assert (listed["id"], listed["loaded"], listed["vocabulary_size"]) == ("fox", False, None)
    assert "the first request waits for it" in client.get("/?model=fox").get_data(as_text=True)
    assert client.post("/api/generate", json={"model": "fox", "max_tokens": 1}).status_code == 200
    assert client.get("/api/models").json["models"][1]["vocabulary_size"] == 89


def test_a_text_beyond_the_deadline_comes_as_far_as_it_got(model):
    client = create_app([model], WebSettings(deadline_seconds=-1)).test_client()
    answer = client.post("/api/generate", json={"seed": 0, "n": 2, "max_tokens": 5}).json
    assert [sample["finish_reason"] for sample in answer["samples"]] == ["deadline", "deadline"]
    assert [sample["tokens"] for sample in answer["samples"]] == [1, 0]
    assert answer["note"].startswith("Stopped after -1 seconds")


def test_the_document_names_every_setting_and_every_route(client, document):
    assert document["openapi"] == "3.1.0"
    schemas = document["components"]["schemas"]
    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)
    request = schemas["GenerateRequest"]
    assert set(request["properties"]) == {"prompt", "model", *SamplingSettings.model_fields}
    assert request["additionalProperties"] is False
    assert request["properties"]["max_tokens"]["maximum"] == 2000
    assert all(entry.get("description") for entry in request["properties"].values())
    assert {name for name, entry in request["properties"].items() if "default" in entry} == {"prompt", "model", "n"}
    rules = {rule.rule for rule in client.application.url_map.iter_rules() if rule.rule.startswith("/api/")}
    assert set(document["paths"]) == rules
    references = set(_references(document))
    assert references == {f"#/components/schemas/{name}" for name in schemas}


def _references(node):
    if isinstance(node, dict):
        yield from ([node["$ref"]] if "$ref" in node else [])
        node = list(node.values())
    if isinstance(node, list):
        for entry in node:
            yield from _references(entry)


def test_behind_a_prefix_that_is_known_the_document_says_where_the_interface_is(model):
    client = create_app([model], WebSettings(prefix="/user/jane")).test_client()
    assert client.get("/user/jane/openapi.json").json["servers"] == [{"url": "/user/jane"}]
    assert client.get("/openapi.json").json["servers"] == [{"url": "."}]


LENIENT = create_app([FakeModel()], WebSettings(max_tokens=20, max_tokens_together=40)).test_client()
DOCUMENT = LENIENT.get("/openapi.json").json
REQUEST = jsonschema.Draft202012Validator(
    {"$ref": "#/components/schemas/GenerateRequest", "components": DOCUMENT["components"]}
)
SIMPLE = st.none() | st.booleans() | st.integers(-5, 50) | st.floats(-2, 8) | st.text(max_size=5)


@hypothesis_settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from([*SamplingSettings.model_fields, "prompt", "colour"]),
        SIMPLE | st.lists(st.text(max_size=3) | st.integers(), max_size=3),
        max_size=3,
    )
)
def test_the_document_allows_exactly_what_is_answered(values):
    answer = LENIENT.post("/api/generate", json=values)
    whole = any(isinstance(value, float) and value.is_integer() for value in values.values())  # 5.0 is one for JSON
    together = values.get("n", 1), values.get("max_tokens", 1)
    if REQUEST.is_valid(values) and not whole and together[0] * together[1] <= 40:
        assert answer.status_code == 200
    elif not whole:
        assert answer.status_code == 400


@hypothesis_settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60) | st.recursive(SIMPLE, st.lists, max_leaves=5).map(lambda v: json.dumps(v).encode()))
def test_no_body_is_answered_with_a_server_error(body):
    assert LENIENT.post("/api/generate", data=body, content_type="application/json").status_code in (200, 400)
    assert LENIENT.post("/api/generate", json={"prompt": "\ud800", "stop": ["\udfff"]}).status_code == 400
