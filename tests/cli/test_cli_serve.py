"""`unrolled serve`: options reach the server, and a mistyped one is one sentence."""

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

import unrolled
from unrolled.serving.settings import LOOPBACK_HOSTS, WebSettings


def test_every_option_reaches_the_server(cli, monkeypatch):
    asked = []
    monkeypatch.setattr("unrolled.web.serve_models", lambda *given, **named: asked.append((given, named)))
    options = ["--host", "0.0.0.0", "--port", "7", "--prefix", "/a/", "--behind-proxy", "--allow-host", "hub.example"]
    options += ["--history", "hidden", "--history-file", "h", "--keep-days", "3", "--models-at-start", "2"]
    options += ["--decoding", "bfloat16"]
    assert cli("serve", "one", "two", *options).status == 0
    ((given, named),) = asked
    assert given == (("one", "two"), "0.0.0.0", 7)
    assert named["settings"] == WebSettings(
        prefix="/a",
        behind_proxy=True,
        allowed_hosts=(*LOOPBACK_HOSTS, "hub.example"),
        history="hidden",
        history_file=Path("h"),
        keep_days=3,
        models_at_start=2,
        decoding="bfloat16",
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--keep-days", "-1"], "--keep-days takes 0"),
        (["--models-at-start", "0"], "--models-at-start takes 1"),
        (["--prefix", "/a b?c"], "is not a URL path"),
        (["--allow-host", "https://hub.example"], "is not a host name"),
        (["--history", "maybe"], "'maybe' is not one of"),
        (["--decoding", "int4"], "'int4' is not one of 'float32', 'bfloat16'"),
        (["--histori", "on"], "--history"),
        (["nowhere"], "nowhere"),
    ],
)
def test_what_cannot_be_meant_is_one_sentence(cli, tmp_path, monkeypatch, options, words):
    monkeypatch.chdir(tmp_path)
    done = cli("serve", "--port", "0", *options)
    assert (done.status, done.out) == (2, "")
    assert words in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("way", ["command", "app.py"])
def test_a_served_run_writes_and_keeps_what_it_wrote_in_the_users_data_folder(trained_once, tmp_path, way):
    app = Path(__file__).parents[2] / "app" / "app.py"
    command = [sys.executable, *(["-m", "unrolled", "serve"] if way == "command" else [str(app)])]
    places = [str(Path(unrolled.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    with subprocess.Popen(
        [*command, str(trained_once), "--port", "0"],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, places))},
    ) as process:
        try:
            note, url = process.stderr.readline(), process.stderr.readline().split()[1]
            assert str(Path(os.environ["XDG_DATA_HOME"])) in note
            body = json.dumps({"prompt": "On day", "seed": 3, "max_tokens": 5}).encode()
            request = urllib.request.Request(f"{url}/api/generate", body, {"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=60) as response:
                text = json.load(response)["samples"][0]["text"]
            with urllib.request.urlopen(f"{url}/history.jsonl", timeout=60) as response:
                assert json.loads(response.read())["text"] == text
        finally:
            process.terminate()
    assert unrolled.load(trained_once).generate("On day", seed=3, max_tokens=5).samples[0].text == text
    assert (Path(os.environ["XDG_DATA_HOME"]) / "unrolled" / "history.sqlite3").is_file()
