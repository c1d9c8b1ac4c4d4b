"""Every route through Flask's test client: answers, messages and headers."""

import html
import io
import json
import re
import threading
from urllib.parse import urljoin

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from werkzeug.test import EnvironBuilder

from tests.web.fakes import FakeModel
from unrolled.config import SamplingSettings
from unrolled.errors import UserError
from unrolled.serving.settings import WebSettings
from unrolled.web.app import create_app
from unrolled.web.context import BROKEN
from unrolled.web.security.answers import CONTENT_SECURITY_POLICY

XSS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "' onmouseover='alert(1)",
    "</textarea><script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    "{{ 7 * 7 }}{% raw %}",
    "javascript:alert(1)",
    "<!--<script>",
    "&lt;b&gt;",
]


FIELDS = ["model", "prompt", "max_tokens", "temperature", "top_k", "top_p", "min_p", "repetition_penalty"]
FIELDS += ["repetition_window", "seed", "min_tokens", "typical_p", "presence_penalty", "frequency_penalty"]
FIELDS += ["stop", "unknown_token"]


def lines(response):
    return [json.loads(line) for line in response.get_data(as_text=True).splitlines()]


def streamed_text(response):
    return "".join(item.get("text", "") for item in lines(response)[:-1])


def inside(page, element):
    """Return the text inside the element with this id."""
    return html.unescape(re.search(rf'id="{element}"[^>]*>(.*?)</(?:span|p|textarea)>', page, re.S)[1])


def value_of(page, field):
    return html.unescape(re.search(rf'<input id="{field}"[^>]* value="([^"]*)"', page)[1])


def test_the_page_has_every_control_with_a_label_and_shows_the_facts(client):
    page = client.get("/").get_data(as_text=True)
    for name in FIELDS:
        assert f'name="{name}"' in page
        assert f'<label for="{name}"' in page or f'<label class="above" for="{name}"' in page
    for fact in [
        "CPU, the fastest for one token",
        "89 characters",
        "1,234,567",
        "2 LSTM layers of 320, embedding\u00a024",
        "1.754 bits",
    ]:
        assert fact in page
    assert inside(page, "prompt") == "\n" + WebSettings().default_prompt
    assert 'action="./"' in page
    assert value_of(page, "temperature") == "0.8"
    assert value_of(page, "seed") == ""


def test_the_plain_form_answers_with_prompt_and_continuation_told_apart(client, model):
    page = client.post("/", data={"prompt": "Once", "seed": "5", "max_tokens": "30"}).get_data(as_text=True)
    assert inside(page, "given") == "Once"
    assert inside(page, "written") == model.text(5, 30)
    assert "30 tokens in" in inside(page, "made")
    assert "seed 5" in inside(page, "made")
    assert "temperature 0.8" in inside(page, "decoding")
    assert value_of(page, "seed") == "5"
    assert value_of(page, "max_tokens") == "30"


def test_a_drawn_seed_is_reported_and_writes_the_same_text_again(client, model):
    page = client.post("/", data={"max_tokens": "40"}).get_data(as_text=True)
    seed = re.search(r"seed (\d+)", inside(page, "made"))[1]
    again = client.post("/", data={"max_tokens": "40", "seed": seed}).get_data(as_text=True)
    assert inside(page, "written") == inside(again, "written") == model.text(int(seed), 40)


def test_continuing_without_a_script_starts_from_the_whole_text(client, model):
    page = client.post("/", data={"prompt": "Once\r\n<b>", "seed": "2", "max_tokens": "9"}).get_data(as_text=True)
    following = re.search(r'<input type="hidden" name="prompt" value="([^"]*)"', page)[1]
    assert html.unescape(following) == "Once\n<b>" + model.text(2, 9)
    assert '<input type="hidden" name="max_tokens" value="9">' in page


def test_continuing_keeps_the_end_of_a_text_that_is_too_long_for_a_prompt():
    model = FakeModel()
    client = create_app([model], WebSettings(max_prompt_characters=10)).test_client()
    page = client.post("/", data={"prompt": "abcdefgh", "seed": "0", "max_tokens": "5"}).get_data(as_text=True)
    following = re.search(r'<input type="hidden" name="prompt" value="([^"]*)"', page)[1]
    assert following == "defgh" + model.text(0, 5)


def test_every_setting_reaches_the_model_under_its_name(client, model):
    sent = {"temperature": "0.3", "top_k": "11", "top_p": "0.9", "min_p": "0.05", "repetition_penalty": "1.2"}
    client.post("/", data=sent | {"repetition_window": "77", "max_tokens": "4", "seed": "6", "prompt": "x\r\ny"})
    numbers = {name: float(value) for name, value in sent.items()}
    assert model.asked == [("x\ny", SamplingSettings(**numbers, repetition_window=77, max_tokens=4, seed=6, n=1))]


def test_the_model_is_chosen_by_its_id_from_the_servers_list(model):
    other = FakeModel("Fresh run", script="abcdefg")
    client = create_app([model, other, FakeModel("stories"), FakeModel("../../etc")]).test_client()
    page = client.get("/").get_data(as_text=True)
    picker = re.search(r'<select id="model".*?</select>', page, re.S)[0]
    assert re.findall(r'<option value="([^"]*)"', picker) == ["stories", "fresh-run", "stories-2", "etc"]
    answer = client.post("/", data={"model": "fresh-run", "seed": "0", "max_tokens": "3"}).get_data(as_text=True)
    assert inside(answer, "written") == "abc"
    assert '<option value="fresh-run" selected' in answer
    assert client.post("/", data={"model": "../../etc"}).status_code == 400


def test_a_bad_form_is_refilled_as_typed_with_a_message_at_each_field(client, model):
    typed = {"prompt": "Keep\r\nme <b>", "temperature": "hot", "top_p": "7", "seed": "12", "model": "fresh-run"}
    response = client.post("/", data=typed)
    page = response.get_data(as_text=True)
    assert response.status_code == 400
    assert "please check 2 fields" in inside(page, "message")
    assert "from 0 to 5" in inside(page, "temperature-problem")
    assert "“hot”" in inside(page, "temperature-problem")
    assert "from 0 to 1" in inside(page, "top_p-problem")
    assert inside(page, "prompt").splitlines() == ["", "Keep", "me <b>"]
    assert [value_of(page, name) for name in ("temperature", "top_p", "seed")] == ["hot", "7", "12"]
    assert '<option value="fresh-run" selected' in page
    assert model.opened == []


def test_the_fields_start_with_the_chosen_models_own_settings_and_an_empty_one_means_them():
    own = SamplingSettings(max_tokens=6, temperature=0.35, top_k=9, stop=["\n"], unknown_token="allowed")
    talker = FakeModel("Talker", kind="word", sampling=own)
    client = create_app([FakeModel(), talker]).test_client()
    page = client.get("/?model=talker").get_data(as_text=True)
    assert [value_of(page, name) for name in ("max_tokens", "temperature", "top_k", "seed")] == ["6", "0.35", "9", ""]
    assert inside(page, "stop") == "\n\\n"
    assert '<option value="allowed" selected' in page
    assert "Words to generate, at most." in page
    assert "89 words" in page
    assert "It has learned <span data-units>words</span>" in page
    answer = client.post("/", data={"model": "talker", "temperature": "", "top_k": "4"}).get_data(as_text=True)
    assert "6 tokens in" in inside(answer, "made")
    assert inside(answer, "decoding") == (
        "Talker: length 6, temperature 0.35, top k 4, stop at “\\n”, mark for unknown allowed"
    )
    reset = client.post("/", data={"model": "talker", "preset": "own", "top_k": "77", "prompt": "Mine"})
    assert value_of(reset.get_data(as_text=True), "top_k") == "9"
    assert inside(reset.get_data(as_text=True), "prompt") == "\nMine"


def test_a_model_that_does_not_exist_is_a_400_that_names_those_that_do(client):
    for answer in (client.get("/?model=%3Cb%3E"), client.post("/", data={"model": "<b>"})):
        assert answer.status_code == 400
        assert "“<b>”; choose one of stories, fresh-run" in inside(answer.get_data(as_text=True), "model-problem")


def test_the_warnings_of_a_model_stand_beside_it_and_in_the_stream():
    model = FakeModel()
    model.warnings = ["The vocabulary is a placeholder <b>."]
    client = create_app([model]).test_client()
    assert "The vocabulary is a placeholder &lt;b&gt;." in client.get("/").get_data(as_text=True)
    assert lines(client.post("/stream", data={"max_tokens": "1"}))[-1]["warnings"] == model.warnings


def test_stop_texts_are_kept_by_the_form_and_by_going_on(client):
    page = client.post("/", data={"stop": "The end\r\n\\n\\n", "max_tokens": "3"}).get_data(as_text=True)
    assert inside(page, "stop").split() == ["The", "end", "\\n\\n"]
    assert re.search(r'<textarea name="stop" hidden>\s*The end\s*\\n\\n</textarea>', page)


def test_a_sampling_style_fills_the_fields_and_keeps_the_prompt_without_writing(client, model):
    response = client.post("/", data={"preset": "wild", "prompt": "Mine", "max_tokens": "77", "temperature": "bad"})
    page = response.get_data(as_text=True)
    assert response.status_code == 200
    assert value_of(page, "temperature") == "1.1"
    assert value_of(page, "max_tokens") == "77"
    assert inside(page, "prompt") == "\nMine"
    assert model.asked == []
    assert client.post("/", data={"preset": "mild"}).status_code == 400


@pytest.mark.parametrize("kind", ["form", "json"])
def test_the_stream_gives_pieces_and_then_how_the_text_was_made(client, model, kind):
    fields = {"prompt": "Zoë 7", "seed": 4, "max_tokens": 25, "temperature": 0.5}
    response = client.post("/stream", **({"data": fields} if kind == "form" else {"json": fields}))
    *pieces, last = lines(response)
    assert response.status_code == 200
    assert all(set(piece) == {"text"} for piece in pieces)
    assert "".join(piece["text"] for piece in pieces) == model.text(4, 25)
    assert last["seconds"] >= 0
    assert {name: last[name] for name in ("seed", "tokens", "finish_reason", "unknown", "note", "model")} == {
        "seed": 4,
        "tokens": 25,
        "finish_reason": "length",
        "unknown": ["ë", "7"],
        "note": None,
        "model": "stories",
    }
    assert response.headers["X-Unrolled-Seed"] == "4"
    assert response.headers["X-Accel-Buffering"] == "no"
    assert "no-cache" in response.headers["Cache-Control"]


def test_page_and_stream_write_the_same_text(client):
    fields = {"prompt": "Once", "seed": "9", "max_tokens": "50"}
    page = client.post("/", data=fields).get_data(as_text=True)
    assert inside(page, "written") == streamed_text(client.post("/stream", data=fields))


@pytest.mark.parametrize(
    ("request_arguments", "status", "field"),
    [
        ({"data": {"top_k": "-5"}}, 400, "top_k"),
        ({"json": {"temperature": []}}, 400, "temperature"),
        ({"json": {"prompt": 5}}, 400, "prompt"),
        ({"json": {"prompt": "x" * 10_001}}, 400, "prompt"),
        ({"data": b'{"seed": 1, "seed": 2}', "content_type": "application/json"}, 400, "seed"),
        ({"data": b'{"top_p": NaN}', "content_type": "application/json"}, 400, "top_p"),
        ({"data": b'{"max_tokens": 1e999}', "content_type": "application/json"}, 400, "max_tokens"),
        ({"data": b"{", "content_type": "application/json"}, 400, None),
        ({"json": [1]}, 400, None),
        ({"data": b"prompt=x", "content_type": "text/plain"}, 415, None),
        ({"data": b"x" * 300_000, "content_type": "application/json"}, 413, None),
        ({"data": {"prompt": "x" * 300_000}}, 413, None),
    ],
)
def test_a_bad_request_to_the_stream_is_json_with_a_message_and_nothing_is_written(
    client, model, request_arguments, status, field
):
    response = client.post("/stream", **request_arguments)
    assert response.status_code == status
    assert response.json["error"]
    assert field is None or list(response.json["fields"]) == [field]
    assert model.opened == []


def test_a_field_sent_as_a_file_is_refused_by_name(client):
    response = client.post("/stream", data={"seed": (io.BytesIO(b"5"), "seed.txt")})
    assert response.status_code == 400
    assert list(response.json["fields"]) == ["seed"]


def test_unknown_characters_are_shown_so_that_they_can_be_seen(client):
    page = client.post("/", data={"prompt": "a\x00é\u200b", "max_tokens": "2"}).get_data(as_text=True)
    assert inside(page, "unknown-list") == "U+0000 é U+200B"


@pytest.mark.parametrize("attack", XSS)
def test_nothing_that_comes_from_outside_becomes_markup(attack):
    model = FakeModel(attack, script=attack)
    model.writing_device_reason = attack
    client = create_app([model]).test_client()
    fields = {"prompt": attack, "max_tokens": str(len(attack)), "seed": "0"}
    pages = [
        client.get("/"),
        client.post("/", data=fields),
        client.post("/", data=fields | {"temperature": attack, "model": attack}),
        client.post("/", data={attack: attack}),
        client.get("/" + attack),
    ]
    plain = create_app([FakeModel()]).test_client().post("/", data=fields | {"prompt": "x"}).get_data(as_text=True)
    for response in pages:
        page = response.get_data(as_text=True)
        assert response.mimetype == "text/html"
        if "<" in attack:
            assert attack not in page
        assert page.count("<script") <= plain.count("<script") == 1
        assert not re.search(r"<[^>]*\son\w+\s*=", re.sub(r"\"[^\"]*\"|='[^']*'", '""', page))
    written = client.post("/", data=fields).get_data(as_text=True)
    assert inside(written, "given") == inside(written, "written") == attack


def test_the_stream_is_never_read_as_a_page(client):
    response = client.post("/stream", data={"prompt": XSS[0], "max_tokens": "3"})
    assert response.mimetype == "application/x-ndjson"
    assert response.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("POST", "/"),
        ("POST", "/stream"),
        ("GET", "/health"),
        ("GET", "/none"),
        ("GET", "/static/page.js"),
    ],
)
def test_every_answer_carries_the_security_headers(client, method, path):
    with client.open(path, method=method, data={"max_tokens": "1"} if method == "POST" else None) as response:
        headers = response.headers
    assert headers["Content-Security-Policy"] == CONTENT_SECURITY_POLICY
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert path.startswith("/static") or "no-store" in headers["Cache-Control"]
    assert "Access-Control-Allow-Origin" not in headers
    assert "Set-Cookie" not in headers


def test_the_page_holds_nothing_inline_and_loads_nothing_from_elsewhere(client):
    page = client.post("/", data={"prompt": "x", "max_tokens": "3"}).get_data(as_text=True)
    assert not re.search(r"<style|\sstyle=|<script(?![^>]* src=)|\son\w+=", page)
    for link in re.findall(r'(?:href|src|action|data-stream)="([^"]*)"', page):
        assert link.startswith("./")
        with client.get(link[1:]) as response:
            assert response.status_code in (200, 405)
    for name in ("page.js", "page.css", "favicon.svg"):
        with client.get(f"/static/{name}") as response:
            asset = response.get_data(as_text=True)
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|innerHTML|insertAdjacentHTML|@import|url\(", asset)


@pytest.mark.parametrize("path", ["/", "/none", "/some/where/else/", "/history/", "/a/b"])
def test_every_link_leads_to_the_same_place_under_any_prefix(client, path):
    page = client.get(path).get_data(as_text=True)
    links = re.findall(r'(?:href|src|action|data-stream)="([^"]*)"', page)
    assert links
    for prefix in ("", "/user/jane/proxy/5000"):
        led = {urljoin(f"http://hub.example{prefix}{path}", link) for link in links}
        known = {"", "static/page.js", "static/page.css", "static/favicon.svg", "stream", "history", "openapi.json"}
        assert led <= {f"http://hub.example{prefix}/{target}" for target in known}


@pytest.mark.parametrize("path", ["/", "/health", "/static/page.css", "/stream"])
def test_a_foreign_host_name_is_refused_everywhere(client, path):
    response = client.get(path, headers={"Host": "evil.example"})
    assert response.status_code == 400
    assert "host name" in response.get_data(as_text=True)
    assert client.get("/health", headers={"Host": "[::1]:5000"}).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost:8888", "http://[", ""])
def test_a_form_of_another_origin_writes_nothing_where_the_browser_sends_no_more_than_that(client, model, origin):
    for path in ("/", "/stream"):
        assert client.post(path, data={"prompt": "x"}, headers={"Origin": origin}).status_code == 403
    assert model.asked == []
    assert client.post("/", data={"max_tokens": "1"}, headers={"Origin": "http://localhost"}).status_code == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_form_from_another_site_writes_nothing(client, model, site):
    for path in ("/", "/stream"):
        assert client.post(path, data={"prompt": "x"}, headers={"Sec-Fetch-Site": site}).status_code == 403
    assert model.asked == []
    own = {"Sec-Fetch-Site": "same-origin"}
    assert client.post("/", data={"max_tokens": "1"}, headers=own).status_code == 200


def test_an_error_page_is_plain_and_keeps_its_status_and_headers(client):
    missing, wrong = client.get("/nothing"), client.put("/")
    assert missing.status_code == 404
    assert "<h1>Not Found</h1>" in missing.get_data(as_text=True)
    assert wrong.status_code == 405
    assert "POST" in wrong.headers["Allow"]
    assert client.get("/stream").status_code == 405
    assert client.get("/stream").json["error"]


@pytest.mark.parametrize("testing", [True, False])
def test_an_unforeseen_error_shows_nothing_of_itself(caplog, testing):
    model = FakeModel(failures={3: ZeroDivisionError("secret")})
    app = create_app([model])
    app.testing = testing
    page = app.test_client().post("/", data={"max_tokens": "9"})
    assert page.status_code == 500
    assert "secret" not in page.get_data(as_text=True)
    assert BROKEN in page.get_data(as_text=True)
    stream = app.test_client().post("/stream", data={"max_tokens": "9"})
    assert lines(stream)[-1] == {"error": BROKEN}
    assert len(lines(stream)) == 4
    assert "secret" in caplog.text
    model.stream_with = None
    response = app.test_client().post("/stream", data={})
    assert response.status_code == 500
    assert response.json == {"error": BROKEN}


def test_what_the_model_refuses_is_a_message_not_an_error():
    def refuse(settings):
        raise UserError("The settings do not fit: top_k <b>.")

    model = FakeModel()
    model.sampling = refuse
    client = create_app([model]).test_client()
    page, stream = client.post("/", data={"prompt": "keep"}), client.post("/stream", data={})
    assert page.status_code == stream.status_code == 400
    assert inside(page.get_data(as_text=True), "message") == "The settings do not fit: top_k <b>."
    assert inside(page.get_data(as_text=True), "prompt") == "\nkeep"
    assert stream.json == {"error": "The settings do not fit: top_k <b>."}


def test_a_user_error_on_the_way_ends_the_stream_with_its_words():
    model = FakeModel(failures={2: UserError("The weights hold NaN; train again.")})
    stream = create_app([model]).test_client().post("/stream", data={"max_tokens": "9", "seed": "0"})
    assert lines(stream) == [{"text": "t"}, {"text": "h"}, {"error": "The weights hold NaN; train again."}]


def test_a_user_error_on_the_way_of_the_plain_form_is_a_400_with_its_words_and_keeps_the_form():
    model = FakeModel(failures={2: UserError("The weights hold NaN; train again.")})
    page = create_app([model]).test_client().post("/", data={"prompt": "keep", "max_tokens": "9", "seed": "0"})
    assert page.status_code == 400
    assert "The weights hold NaN; train again." in page.get_data(as_text=True)
    assert inside(page.get_data(as_text=True), "prompt") == "\nkeep"


def test_beyond_the_limit_an_answer_says_when_to_come_back_and_keeps_the_form():
    gate = threading.Event()
    model = FakeModel(gates={1: gate})
    app = create_app([model], WebSettings(generations_at_once=1, queue_length=0, retry_after_seconds=3))
    first = app.test_client().post("/stream", data={"max_tokens": "4", "seed": "0"}, buffered=False)
    try:
        page = app.test_client().post("/", data={"prompt": "Mine"})
        stream = app.test_client().post("/stream", data={})
        assert page.status_code == stream.status_code == 503
        assert {page.headers["Retry-After"], stream.headers["Retry-After"]} <= {"1", "2", "3"}
        assert "try again" in stream.json["error"]
        assert inside(page.get_data(as_text=True), "prompt") == "\nMine"
        assert app.test_client().get("/health").status_code == 200
    finally:
        gate.set()
    assert streamed_text(first) == "the "
    assert app.test_client().post("/stream", data={"max_tokens": "1"}).status_code == 200


@pytest.mark.parametrize("pieces_read", [0, 2])
def test_a_reader_who_leaves_stops_the_model_and_frees_the_place(pieces_read):
    model = FakeModel()
    app = create_app([model], WebSettings(generations_at_once=1))
    response = app.test_client().post("/stream", data={"max_tokens": "1000"}, buffered=False)
    for _ in range(pieces_read):
        next(response.response)
    response.close()
    assert not model.opened or model.closed.acquire(timeout=30)
    again = app.test_client().post("/stream", data={"max_tokens": "2"})
    assert again.status_code == 200
    assert lines(again)[-1]["tokens"] == 2


def test_an_answer_that_is_never_read_frees_the_place():
    app = create_app([FakeModel()], WebSettings(generations_at_once=1))
    for _ in range(3):
        started = []
        environ = EnvironBuilder("/stream", method="POST", data={"max_tokens": "5"}).get_environ()
        app(environ, lambda status, headers, started=started: started.append(status)).close()
        assert started == ["200 OK"]


@pytest.mark.parametrize("path", ["/", "/stream"])
def test_an_error_on_the_way_frees_the_place(path):
    model = FakeModel(failures={1: RuntimeError("broken")})
    client = create_app([model], WebSettings(generations_at_once=1)).test_client()
    for _ in range(3):
        client.post(path, data={"max_tokens": "5"}).get_data()
    assert client.post("/stream", data={"max_tokens": "1", "seed": "0"}).status_code == 200


def test_health_says_ok(client):
    assert client.get("/health").json == {"status": "ok"}


def test_an_application_needs_a_model():
    with pytest.raises(ValueError, match="model"):
        create_app([])


FUZZED = create_app([FakeModel()], WebSettings(max_tokens=20))
NAMES = [*FIELDS, "preset"]
VALUES = st.one_of(st.text(max_size=20), st.floats().map(str), st.integers().map(str), st.just(""))


@hypothesis_settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([*NAMES, "zzz"]), VALUES), max_size=6), st.sampled_from(["/", "/stream"]))
def test_no_form_is_answered_with_a_server_error(pairs, path):
    body = "&".join(f"{name}={''.join(f'%{byte:02x}' for byte in value.encode('utf-8'))}" for name, value in pairs)
    response = FUZZED.test_client().post(path, data=body, content_type="application/x-www-form-urlencoded")
    assert response.status_code in (200, 400)
    response.get_data(as_text=True)


@hypothesis_settings(max_examples=60, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=60),
        st.dictionaries(
            st.sampled_from([*NAMES, "zzz"]),
            VALUES | st.none() | st.booleans() | st.floats() | st.integers() | st.lists(st.integers(), max_size=2),
            max_size=5,
        ).map(lambda value: json.dumps(value).encode()),
        st.sampled_from([b'{"prompt": "\\ud800\\u0000"}', b'{"seed": 1' + b"0" * 5000 + b"}"]),
    ),
    st.sampled_from(["/", "/stream"]),
)
def test_no_body_is_answered_with_a_server_error(body, path):
    for content_type in ("application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        response = FUZZED.test_client().post(path, data=body, content_type=content_type)
        assert response.status_code in (200, 400, 415)
        response.get_data(as_text=True)
