"""The page in real Chromium: a prompt typed, text streamed in, stopped, continued; with and without JavaScript."""

import re
import shutil
import threading

import pytest

from tests.web.fakes import FakeModel
from tests.web.proxies import KEPT, STRIPPED
from unrolled.config import SamplingSettings
from unrolled.serving.models import ModelFolder
from unrolled.serving.settings import WebSettings
from unrolled.web.app import create_app

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
if CHROMIUM is None:
    pytest.skip("no Chromium is installed (chromium, chromium-browser, google-chrome)", allow_module_level=True)
playwright_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
ARGUMENTS += ["--disable-component-update", "--disable-sync"]
HOSTILE = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>"


@pytest.fixture(scope="module")
def browser():
    with playwright_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser):
    """Return a function that opens a page; in the end, none may have complained or asked for anything elsewhere."""
    contexts, complaints, asked = [], [], []

    def open_one(url, **options):
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(url)
        return page

    open_one.complaints = complaints
    yield open_one
    for context in contexts:
        context.close()
    assert complaints == []
    assert {re.match(r"\w+://[^:/]+", url)[0] for url in asked} == {"http://127.0.0.1"}


def wait_for_text(page, selector: str, text: str) -> None:
    """Wait until an element holds exactly this text; a predicate would be polled by `eval`, which the page forbids."""
    from playwright.sync_api import expect

    expect(page.locator(selector)).to_have_js_property("textContent", text)


def settled(page):
    page.locator("#story[aria-busy=false]").wait_for()
    page.locator("#start:visible").wait_for()


def test_text_streams_in_behind_the_prompt(served, open_page):
    gate = threading.Event()
    model = FakeModel(gates={5: gate})
    page = open_page(served(create_app([model])).url)
    try:
        page.fill("#prompt", "Once upon a time, ")
        page.fill("#seed", "0")
        page.fill("#max_tokens", "30")
        page.click("#start")
        wait_for_text(page, "#written", "the s")
        assert page.get_attribute("#story", "aria-busy") == "true"
        assert page.is_visible("#stop-writing")
        assert page.is_hidden("#start")
    finally:
        gate.set()
    settled(page)
    assert page.text_content("#given") == "Once upon a time, "
    assert page.text_content("#written") == model.text(0, 30)
    assert re.fullmatch(r"30 tokens in [\d.]+ s( \([\d,]+ tokens/s\))? · seed 0", page.text_content("#made"))
    assert "temperature 0.8" in page.text_content("#decoding")
    colours = page.evaluate("['given', 'written'].map(id => getComputedStyle(document.getElementById(id)).color)")
    assert colours[0] != colours[1]


def test_stopping_keeps_what_was_written_and_ends_the_model(served, open_page):
    gate = threading.Event()
    model = FakeModel(gates={3: gate})
    page = open_page(served(create_app([model], WebSettings(generations_at_once=1))).url)
    try:
        page.fill("#seed", "0")
        page.press("#prompt", "Control+Enter")
        wait_for_text(page, "#written", "the")
        page.click("#stop-writing")
        settled(page)
        assert page.text_content("#written") == "the"
        assert re.match(r"Stopped by you .* seed 0", page.text_content("#made"))
        assert page.is_visible("#continue")
    finally:
        gate.set()
    assert model.closed.acquire(timeout=30)


def test_continuing_takes_the_whole_text_as_the_next_prompt(served, open_page):
    model = FakeModel()
    page = open_page(served(create_app([model])).url)
    page.fill("#prompt", "One\nTwo ")
    page.fill("#max_tokens", "6")
    page.fill("#seed", "0")
    page.click("#start")
    page.locator("#continue button").click()
    wait_for_text(page, "#given", "One\nTwo the se")
    settled(page)
    assert page.input_value("#prompt") == "One\nTwo the se"
    assert page.text_content("#written") == model.text(0, 6)


def test_a_bad_number_is_explained_at_its_field_and_forgotten_once_right(served, open_page):
    model = FakeModel()
    page = open_page(served(create_app([model])).url)
    page.fill("#seed", "0")
    page.click("#start")
    page.locator("#made").wait_for()
    page.fill("#temperature", "hot")
    page.click("#start")
    page.locator("#temperature-problem").wait_for()
    assert "from 0 to 5" in page.text_content("#temperature-problem")
    settled(page)
    assert page.evaluate("document.activeElement.id") == "temperature"
    assert page.text_content("#written") == model.text(0, 400)  # the last text stays
    assert "400" in open_page.complaints.pop()  # Chromium itself reports every failed request
    page.fill("#temperature", "0.5")
    page.press("#temperature", "Control+Enter")
    page.locator("#decoding", has_text="temperature 0.5").wait_for()
    assert page.is_hidden("#temperature-problem")
    assert page.is_hidden("#message")


def test_sampling_styles_and_the_model_picker_change_what_is_shown(served, open_page):
    page = open_page(served(create_app([FakeModel(), FakeModel("Second", script="xyz")])).url)
    page.click("text=Wild")
    assert page.input_value("#temperature") == "1.1"
    assert page.get_attribute("text=Wild", "aria-pressed") == "true"
    page.select_option("#model", "second")
    assert page.is_visible("[data-model=second]")
    assert page.is_hidden("[data-model=stories]")
    page.fill("#seed", "0")
    page.fill("#max_tokens", "3")
    page.press("#temperature", "ArrowDown")
    assert page.input_value("#temperature") == "1"
    page.click("#start")
    page.locator("#made").wait_for()
    assert page.text_content("#written") == "xyz"


def test_fields_that_were_left_alone_follow_the_chosen_model_and_own_brings_its_settings_back(served, open_page):
    own = SamplingSettings(max_tokens=40, temperature=0.6, stop=["\n"], unknown_token="allowed")
    page = open_page(served(create_app([FakeModel(), FakeModel("Talker", kind="word", sampling=own)])).url)
    assert "Characters to generate" in page.text_content("#max_tokens-hint")
    assert page.get_attribute("button[value=own]", "aria-pressed") == "true"
    page.fill("#temperature", "0.9")
    page.select_option("#model", "talker")
    assert [page.input_value(f"#{name}") for name in ("max_tokens", "temperature", "stop", "unknown_token")] == [
        *("40", "0.9", "\\n", "allowed")
    ]
    assert "Words to generate" in page.text_content("#max_tokens-hint")
    assert "learned words" in page.text_content("#empty")
    assert page.get_attribute("button[value=own]", "aria-pressed") == "false"
    page.click("button[value=own]")
    assert page.input_value("#temperature") == "0.6"
    page.select_option("#model", "stories")
    assert [page.input_value(f"#{name}") for name in ("max_tokens", "temperature", "stop")] == ["400", "0.8", ""]


def test_more_settings_are_folded_away_until_one_of_them_needs_a_look(served, open_page):
    page = open_page(served(create_app([FakeModel()])).url)
    assert page.is_hidden("#min_p")
    page.click("#more summary")
    page.fill("#min_p", "7")
    page.click("#more summary")
    page.click("#start")
    page.locator("#min_p-problem").wait_for()
    assert page.evaluate("document.activeElement.id") == "min_p"
    settled(page)
    open_page.complaints.clear()  # Chromium itself reports the refused request
    page.fill("#min_p", "0.5")
    page.fill("#stop", "calm")
    page.click("#start")
    page.locator("#decoding", has_text="min p 0.5, stop at “calm”").wait_for()


def test_a_model_that_is_loaded_by_its_first_text_then_says_what_it_is(served, open_page, tmp_path):
    talker = FakeModel("talker", kind="word")
    talker.warnings = ["The vocabulary is a placeholder."]
    page = open_page(served(create_app([FakeModel(), ModelFolder(tmp_path / "talker", lambda: talker)])).url)
    page.select_option("#model", "talker")
    assert page.is_visible("text=not yet; the first request waits for it")
    page.fill("#prompt", "7")
    page.click("#start")
    page.locator("#note", has_text="The vocabulary is a placeholder.").wait_for()
    assert "does not know these words" in page.text_content("#unknown")


WAYS = [(STRIPPED, "/user/jane%40x/proxy/5000/", ""), (KEPT, "/kept/tales/", "/kept/tales")]


@pytest.mark.parametrize(("locations", "prefix", "known"), WAYS, ids=["stripped", "kept"])
@pytest.mark.parametrize("javascript", [True, False])
def test_behind_a_proxy_the_whole_visit_works(served, nginx, open_page, tmp_path, locations, prefix, known, javascript):
    # pages are closed before the proxy is: `open_page` comes after `nginx`
    settings = WebSettings(prefix=known, history="on", history_file=tmp_path / "history.sqlite3")
    model = FakeModel()
    url = nginx(served(create_app([model], settings)), locations) + prefix
    page = open_page(url, java_script_enabled=javascript)
    assert page.locator("#start").evaluate("e => getComputedStyle(e).fontWeight") == "600"  # the style sheet is there
    page.fill("#prompt", "Once ")
    page.fill("#seed", "0")
    page.fill("#max_tokens", "12")
    page.click("#start")
    page.locator("#made:visible").wait_for()
    assert page.text_content("#written") == model.text(0, 12)
    page.click("text=Continue from here")
    wait_for_text(page, "#given", "Once " + model.text(0, 12))
    page.locator("#made:visible").wait_for()
    page.click("text=history")
    assert page.url == f"{url}history"
    assert page.locator(".entry").count() == 2
    page.fill("#q", "the sea was once")
    page.click("button >> text=Search")
    assert "Nothing matches." in page.text_content("#found")
    page.goto(f"{url}history?q=ONCE")
    page.locator(".entry button").first.click()
    page.wait_for_url(f"{url}history?q=ONCE")
    assert page.locator(".entry .given").all_text_contents() == ["Once "]
    with page.expect_download() as download:
        page.click("text=Save as CSV")
    assert download.value.suggested_filename == "unrolled-history.csv"
    page.click("text=Delete what was found")
    page.click("text=for good")
    page.locator("#found", has_text="Nothing matches.").wait_for()
    page.click("text=Back to the page")
    assert page.url == url


@pytest.mark.parametrize("javascript", [True, False])
def test_hostile_text_stays_text(served, open_page, javascript):
    model = FakeModel(HOSTILE, script=HOSTILE)
    page = open_page(served(create_app([model])).url, java_script_enabled=javascript)
    page.fill("#prompt", HOSTILE)
    page.fill("#seed", "0")
    page.fill("#max_tokens", str(len(HOSTILE)))
    page.click("#start")
    page.locator("#made").wait_for()
    assert page.text_content("#given") == page.text_content("#written") == HOSTILE
    assert page.title() == "unrolled"
    assert page.locator("main img, main script").count() == 0


def test_without_javascript_the_same_form_writes_and_continues(served, open_page):
    model = FakeModel()
    page = open_page(served(create_app([model])).url, java_script_enabled=False)
    assert page.is_hidden("#copy")
    page.fill("#prompt", "\nOne\nTwo ")
    page.fill("#max_tokens", "12")
    page.fill("#seed", "0")
    page.click("#start")
    assert page.text_content("#given") == page.input_value("#prompt") == "\nOne\nTwo "
    assert page.text_content("#written") == model.text(0, 12)
    page.click("text=Continue from here")
    assert page.text_content("#given") == "\nOne\nTwo " + model.text(0, 12)
    page.click("text=Safe")
    assert page.input_value("#temperature") == "0.5"


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_no_width_makes_the_page_scroll_sideways(served, open_page, width):
    page = open_page(served(create_app([FakeModel("n" * 120)])).url, viewport={"width": width, "height": 800})
    page.fill("#prompt", "w" * 400)
    page.fill("#seed", "9" * 15)
    page.click("#start")
    page.locator("#made").wait_for()
    page.click("#more summary")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


@pytest.mark.parametrize("width", [320, 1280])
def test_no_width_makes_the_history_scroll_sideways(served, open_page, tmp_path, width):
    settings = WebSettings(history="on", history_file=tmp_path / "history.sqlite3")
    server = served(create_app([FakeModel("n" * 120, script="w" * 300)], settings))
    page = open_page(server.url, viewport={"width": width, "height": 800})
    page.click("#start")
    page.locator("#made").wait_for()
    page.click("text=history")
    page.click(".tools summary")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
