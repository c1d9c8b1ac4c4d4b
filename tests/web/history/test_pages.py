"""The history in the browser: what page, stream and API store in it, and who may read or delete it."""

import csv
import html
import io
import json
import re
import sqlite3
from contextlib import closing

import pytest

from tests.web.fakes import FakeModel
from unrolled.serving.settings import WebSettings
from unrolled.web.app import create_app
from unrolled.web.history import pages as history_pages
from unrolled.web.history.file import Trouble
from unrolled.web.history.history import Entry, Query

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture
def app(tmp_path):
    return create_app(
        [FakeModel(), FakeModel("Second", script=HOSTILE)],
        WebSettings(history="on", history_file=tmp_path / "h.sqlite3"),
    )


@pytest.fixture
def history(app):
    return app.extensions["unrolled"].history


@pytest.fixture
def client(app):
    return app.test_client()


def fill(history, number, **values):
    usual = {"source": "page", "model": "stories", "prompt": "Once", "finish_reason": "length", "created": 2e9}
    numbers = {"tokens": 1, "seconds": 0.1, "seed": 1, "settings": {"temperature": 0.5}}
    history.keep([Entry(**(usual | numbers | {"text": f"text {index}."} | values)) for index in range(number)])


def shown(page):
    return [html.unescape(text) for text in re.findall(r'<span class="written">(.*?)</span>', page, re.S)]


def test_page_stream_and_interface_are_kept_with_all_that_made_them(client, history):
    client.post("/", data={"prompt": "a", "seed": "1", "max_tokens": "3", "stop": "zz", "top_k": "4"})
    client.post("/stream", data={"prompt": "b", "seed": "2", "max_tokens": "4"}).get_data()
    client.post("/api/generate", json={"prompt": "c", "seed": 3, "max_tokens": 5, "n": 2, "model": "second"})
    kept = list(history.entries(Query()))
    model, other = FakeModel(), FakeModel(script=HOSTILE)
    assert [(entry.source, entry.model, entry.prompt, entry.text, entry.tokens, entry.seed) for entry in kept] == [
        ("page", "stories", "a", model.text(1, 3), 3, 1),
        ("page", "stories", "b", model.text(2, 4), 4, 2),
        ("api", "second", "c", other.text(3, 5), 5, 3),
        ("api", "second", "c", other.text(4, 5), 5, 4),
    ]
    assert kept[0].settings["stop"] == ["zz"]
    assert (kept[0].settings["top_k"], kept[0].settings["temperature"]) == (4, 0.8)
    assert {entry.finish_reason for entry in kept} == {"length"}
    assert not {"n", "seed"} & set(kept[0].settings)


def test_a_text_whose_reader_left_is_kept_as_far_as_it_came(client, history):
    response = client.post("/stream", data={"seed": "0", "max_tokens": "100"}, buffered=False)
    for _ in range(3):
        next(response.response)
    response.close()
    (kept,) = history.entries(Query())
    assert (kept.text, kept.finish_reason) == ("the", "disconnected")


def test_a_refused_request_leaves_nothing_behind(client, history):
    client.post("/", data={"temperature": "hot"})
    client.post("/stream", data={"model": "none"})
    client.post("/api/generate", json={"n": 0})
    client.post("/api/generate", json={}, headers={"Sec-Fetch-Site": "cross-site"})
    assert history.count(Query()) == 0


def test_texts_are_shown_newest_first_a_page_at_a_time(client, history, monkeypatch):
    monkeypatch.setattr(history_pages, "PAGE_SIZE", 3)
    fill(history, 7)
    first, second, last = (client.get(f"/history?page={page}").get_data(as_text=True) for page in ("1", "2", "99"))
    assert shown(first) == ["text 6.", "text 5.", "text 4."]
    assert shown(second) == ["text 3.", "text 2.", "text 1."]
    assert shown(last) == ["text 0."]
    assert "7 samples, stored for 90 days" in first
    assert 'rel="next" href="./history?page=2"' in first
    assert 'rel="prev"' not in first
    assert 'rel="prev" href="./history?page=2"' in last
    assert "Page 3 of 3" in last


@pytest.mark.parametrize("page", ["0", "x", "-1", "1" * 30, "%D9%A3", "1.5"])
def test_a_page_that_is_no_number_is_never_an_error_of_the_server(client, page):
    assert client.get(f"/history?page={page}").status_code == (200 if page == "0" else 400)


def test_a_search_is_carried_into_pages_exports_and_deletions(client, history, monkeypatch):
    monkeypatch.setattr(history_pages, "PAGE_SIZE", 1)
    fill(history, 3, prompt="100% & more")
    fill(history, 2, prompt="other")
    page = html.unescape(client.get("/history?q=100%25+%26&model=stories").get_data(as_text=True))
    assert "3 samples found" in page
    assert shown(page) == ["text 2."]
    assert 'href="./history?q=100%25+%26&model=stories&page=2"' in page
    assert 'href="./history.csv?q=100%25+%26&model=stories"' in page
    assert '<input type="hidden" name="q" value="100% &">' in page
    lines = client.get("/history.jsonl?q=100%25+%26&model=stories").get_data(as_text=True).splitlines()
    assert [json.loads(line)["text"] for line in lines] == ["text 0.", "text 1.", "text 2."]
    gone = client.post("/history", data={"delete": "matching", "q": "100% &", "model": "stories"})
    assert (gone.status_code, gone.headers["Location"]) == (303, "./history?q=100%25+%26&model=stories")
    assert [entry.prompt for entry in history.entries(Query())] == ["other", "other"]
    assert "Nothing matches." in client.get("/history?q=100%25").get_data(as_text=True)


def test_one_text_is_deleted_and_the_page_comes_back(client, history):
    fill(history, 3)
    gone = client.post("/history", data={"delete": "2"})
    assert (gone.status_code, gone.headers["Location"]) == (303, "./history")
    assert [entry.id for entry in history.entries(Query())] == [1, 3]
    for value in ("", "x", "-1", "1" * 19, "²"):
        assert client.post("/history", data={"delete": value}).status_code == 400
    assert client.post("/history").status_code == 400
    assert history.count(Query()) == 2


@pytest.mark.parametrize(
    "headers", [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "http://evil.example"}]
)
def test_another_site_deletes_nothing(client, history, headers):
    fill(history, 2)
    assert client.post("/history", data={"delete": "matching"}, headers=headers).status_code == 403
    assert client.get("/history?delete=matching").status_code == 200
    assert history.count(Query()) == 2
    own = client.post("/history", data={"delete": "matching"}, headers={"Origin": "http://localhost"})
    assert own.status_code == 303
    assert history.count(Query()) == 0
    assert "Nothing is stored yet." in client.get("/history").get_data(as_text=True)


def test_the_exports_are_files_with_everything_in_them(client, history):
    fill(history, 2, text="=1+1")
    table = client.get("/history.csv")
    assert table.headers["Content-Disposition"] == "attachment; filename=unrolled-history.csv"
    assert table.headers["Content-Type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(table.get_data(as_text=True).removeprefix("\ufeff"))))
    assert [row["text"] for row in rows] == ["'=1+1", "'=1+1"]
    records = client.get("/history.jsonl")
    assert records.headers["Content-Disposition"] == "attachment; filename=unrolled-history.jsonl"
    assert [json.loads(line)["text"] for line in records.get_data(as_text=True).splitlines()] == ["=1+1", "=1+1"]
    assert client.get("/history.xlsx").status_code == 404


def test_nothing_that_was_kept_becomes_markup(client, history):
    fill(history, 1, prompt=HOSTILE, text=HOSTILE, model=HOSTILE, finish_reason=HOSTILE)
    for address in ("/history", f"/history?q={HOSTILE}&model={HOSTILE}"):
        page = client.get(address).get_data(as_text=True)
        assert HOSTILE not in page
        assert shown(page) == [HOSTILE]


def test_the_page_says_whether_texts_are_kept(client, tmp_path):
    assert "are stored there for 90 days: <a href" in client.get("/").get_data(as_text=True)
    without = create_app([FakeModel()]).test_client()
    assert "nothing is stored" in without.get("/").get_data(as_text=True)
    for path in ("/history", "/history.csv", "/history.jsonl"):
        assert without.get(path).status_code == 404
    assert without.post("/history", data={"delete": "matching"}).status_code == 404


def test_a_hidden_history_is_kept_and_said_but_never_shown(tmp_path):
    settings = WebSettings(history="hidden", history_file=tmp_path / "h.sqlite3", keep_days=0)
    app = create_app([FakeModel()], settings)
    client = app.test_client()
    page = client.post("/", data={"max_tokens": "2"}).get_data(as_text=True)
    assert "are stored there until they are deleted." in page
    assert "history" not in page
    assert app.extensions["unrolled"].history.count(Query()) == 1
    for path in ("/history", "/history.csv"):
        assert client.get(path).status_code == 404


def test_trouble_with_the_file_costs_no_text_and_is_told_in_plain_words(client, history, monkeypatch):
    def broken(*arguments, **options):
        raise sqlite3.OperationalError("disk I/O error at /secret")

    fill(history, 1)
    monkeypatch.setattr(sqlite3, "connect", broken)
    page = client.post("/", data={"seed": "0", "max_tokens": "3"})
    assert page.status_code == 200
    assert "could not be added to the history" in page.get_data(as_text=True)
    stream = client.post("/stream", data={"seed": "0", "max_tokens": "3"})
    assert "could not be added" in json.loads(stream.get_data(as_text=True).splitlines()[-1])["note"]
    answer = client.post("/api/generate", json={"max_tokens": 3})
    assert (answer.status_code, "could not be added" in answer.json["note"]) == (200, True)
    for refused in (
        *(client.get(path) for path in ("/history", "/history.csv", "/history.jsonl")),
        client.post("/history", data={"delete": "1"}),
    ):
        assert refused.status_code == 503
        assert "cannot be used right now" in refused.get_data(as_text=True)
        assert "secret" not in refused.get_data(as_text=True)
        assert str(history.file) in html.unescape(refused.get_data(as_text=True))


def test_where_others_come_trouble_does_not_say_where_the_file_lies(tmp_path):
    settings = WebSettings(history="on", history_file=tmp_path / "h.sqlite3", public=True)
    client = create_app([FakeModel()], settings).test_client()
    settings.history_file.unlink()
    refused = client.get("/history")
    assert refused.status_code == 503
    assert "h.sqlite3" not in refused.get_data(as_text=True)


def test_a_history_that_cannot_be_written_is_shown_and_says_why(client, history, monkeypatch):
    fill(history, 3)
    opened = sqlite3.connect
    monkeypatch.setattr(
        sqlite3, "connect", lambda address, **more: opened(address.replace("mode=rw", "mode=ro"), **more)
    )
    written = client.post("/", data={"seed": "0", "max_tokens": "3"})
    assert "could not be added to the history" in written.get_data(as_text=True)
    assert "samples are not stored right now: <a" in written.get_data(as_text=True)
    page = client.get("/history").get_data(as_text=True)
    assert len(shown(page)) == 3
    assert "This history is read-only: no file can be made beside it. New samples are not stored" in page
    assert 'value="matching"' not in page
    assert len(client.get("/history.jsonl").get_data(as_text=True).splitlines()) == 3
    refused = client.post("/history", data={"delete": "matching"})
    assert refused.status_code == 503
    assert "cannot be changed" in refused.get_data(as_text=True)
    monkeypatch.undo()
    page = client.get("/history").get_data(as_text=True)
    assert "read-only" not in page
    assert 'value="matching"' in page


def test_on_a_full_disk_the_page_says_so_and_deletes(client, history, monkeypatch):
    fill(history, 3)
    history.trouble = Trouble("full", "its disk is full")
    monkeypatch.setattr(history, "check", lambda: None)
    page = client.get("/history").get_data(as_text=True)
    assert "New samples are not stored: its disk is full. Those below can be read and deleted." in page
    assert 'value="matching"' in page


def test_a_damaged_row_breaks_neither_page_nor_exports(client, history):
    fill(history, 3)
    with closing(sqlite3.connect(history.file)) as other, other:
        other.execute("UPDATE texts SET settings = '{', created = 'noon', tokens = 'x', seconds = x'00' WHERE id = 2")
    page = client.get("/history").get_data(as_text=True)
    assert shown(page) == ["text 2.", "text 1.", "text 0."]
    assert page.count("damaged in the file") == 1
    assert page.count("temperature 0.5") == 2
    assert len(client.get("/history.csv").get_data(as_text=True).splitlines()) == 4
    records = [json.loads(line) for line in client.get("/history.jsonl").get_data(as_text=True).splitlines()]
    assert [record["settings"] for record in records] == [{"temperature": 0.5}, {}, {"temperature": 0.5}]
