"""`unrolled train`: what it prints, writes and refuses."""

import json
import os
import re
import signal

import pytest

from tests.conftest import TINY
from unrolled import load
from unrolled.cli import show
from unrolled.kernels import available_kernels
from unrolled.training import Finished, start

SMALL = [part for name, value in TINY.items() for part in ("--set", f"{name}={value}")]
ESCAPE = "\x1b"


@pytest.fixture(autouse=True)
def no_picture(monkeypatch):
    monkeypatch.setattr(start, "draw_loss", lambda *arguments: None)


def test_a_run_from_begin_to_end(cli, story, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = cli("train", story, *SMALL, "--set", "training.preview_tokens=20")
    assert done.status == 0
    assert "all 24 steps are done" in done.out
    assert "bits per character" in done.out
    assert "unrolled generate runs/story" in done.out
    assert ESCAPE not in done.out + done.err
    for words in ("device cpu", "kernel ", "step     24", "nats/token", "bits/char", "tokens/s", "*best", "    | "):
        assert words in done.err
    card = (tmp_path / "runs" / "story" / "README.md").read_text("utf-8")
    assert "unrolled train story.txt --set model.embedding_size=5" in card
    config = (tmp_path / "runs" / "story" / "config.json").read_text("utf-8")
    assert str(tmp_path) not in card + config
    again = cli("train", story, *SMALL, "--json", "--quiet", "--valid", story, "--seed", 5)
    assert again.err == ""
    result = json.loads(again.out)
    assert (result["folder"], result["step"], result["interrupted"]) == ("runs/story-2", 24, False)
    assert result["best"]["step"] in (5, 10, 15, 20, 24)
    assert load("runs/story-2").settings.training.seed == 5


def test_a_forced_terminal_shows_a_live_line(cli, story, tmp_path, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.delenv("NO_COLOR", raising=False)
    done = cli("train", story, *SMALL, "--out", tmp_path / "run")
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", done.err)
    assert re.search(r"step \d+/24  loss \d\.\d{3}  valid \d\.\d{3} bits/char  [\d,]+ tokens/s  \d+s left", plain)
    assert ESCAPE in done.err


def test_ctrl_c_stops_with_status_130_and_resume_needs_nothing_else(cli, story, tmp_path, monkeypatch):
    original = show.TrainingDisplay._stepped

    def stepped(self, event):
        original(self, event)
        if event.step == 8:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(show.TrainingDisplay, "_stepped", stepped)
    run = tmp_path / "run"
    stopped = cli("train", story, *SMALL, "--out", run)
    assert stopped.status == 130
    assert "stopped by a signal; it can be resumed" in stopped.out.replace("\n", " ")
    resumed = cli("train", "--resume", run)
    assert resumed.status == 0
    assert "resuming after step 8, at most 24 steps" in resumed.err
    nothing_left = cli("train", "--resume", run)
    assert nothing_left.status == 0
    assert "There is nothing left to do: all 24 steps are done. Continue with more --steps" in nothing_left.err
    more = cli("train", "--resume", run, "--steps", 26, "--json")
    assert json.loads(more.out)["step"] == 26


def test_resume_refuses_what_would_make_it_another_run(cli, run, story):
    given = ["--seed", 0, "--preset", "stories", "--set", "model.layers=2", "--out", "x", "--valid", story, "--force"]
    done = cli("train", "--resume", run, story, *given, "--encoding-errors", "replace")
    assert (done.status, done.out) == (2, "")
    for name in (
        "--seed",
        "--preset",
        "--set",
        "--out",
        "SOURCE",
        "--valid",
        "--force",
        "--encoding-errors",
    ):
        assert name in done.err


def test_an_existing_run_is_refused_with_every_way_out(cli, run, story):
    before = (run / "model.safetensors").read_bytes()
    done = cli("train", story, *SMALL, "--out", run)
    assert (done.status, done.out) == (2, "")
    assert all(words in done.err for words in ("--resume", "--force", "--out"))
    assert (run / "model.safetensors").read_bytes() == before
    assert cli("train", story, *SMALL, "--out", run, "--force", "--quiet", "--seed", 9).status == 0
    assert (run / "model.safetensors").read_bytes() != before


def test_impossible_settings_are_all_in_one_message(cli, story, tmp_path):
    bad = ["--steps", 0, "--minutes", "nan", "--seed", -1, "--set", "model.hidden_size=-3", "--set", "training.windw=3"]
    done = cli("train", story, *bad, "--out", tmp_path / "run")
    assert (done.status, done.out) == (2, "")
    for words in ("training.steps = 0", "training.minutes = NaN", "training.seed = -1", "model.hidden_size = '-3'"):
        assert words in done.err
    assert "did you mean training.window" in done.err
    assert not (tmp_path / "run").exists()


def test_settings_come_from_a_file_then_from_set_then_from_options(cli, story, tmp_path):
    (tmp_path / "my.toml").write_text("[training]\nsteps = 3\nbatch_size = 2\nseed = 4\n[model]\nhidden_size = 8\n")
    options = ["--set", "training.batch_size=5", "--seed", 6]
    own = ("training.steps", "training.batch_size", "model.hidden_size")
    small = [part for name, value in TINY.items() if name not in own for part in ("--set", f"{name}={value}")]
    done = cli("train", story, *small, "--config", tmp_path / "my.toml", *options, "--out", tmp_path / "run", "--quiet")
    assert done.status == 0, done.err
    settings = load(tmp_path / "run").settings
    training = settings.training
    assert (training.steps, training.batch_size, training.seed, settings.model.hidden_size) == (3, 5, 6, 8)
    for text, words in (
        ("[training", "cannot be read as TOML"),
        ("[training]\nstep = 3", "did you mean training.steps"),
        ("[training]\nsteps = " + "[" * 100_000, "cannot be read as TOML"),
        ("[training]\nsteps = 1" + "0" * 5_000, "cannot be read as TOML"),
        ("[training]\nlearning_rate = nan", "training.learning_rate"),
        ("training = 1979-05-27", "training"),
        ("#" * 1_000_001, "larger than 1,000,000 bytes"),
    ):
        (tmp_path / "my.toml").write_text(text)
        bad = cli("train", story, "--config", tmp_path / "my.toml", "--out", tmp_path / "other")
        assert bad.status == 2
        assert words in bad.err


@pytest.mark.skipif(os.name != "posix", reason="special files of POSIX systems")
def test_a_settings_file_may_be_a_pipe_and_is_read_to_a_bound(cli, story, tmp_path):
    reading, writing = os.pipe()
    os.write(writing, b"[training]\nstep = 3")
    os.close(writing)
    for path, words in ((f"/dev/fd/{reading}", "did you mean training.steps"), ("/dev/zero", "larger than")):
        bad = cli("train", story, "--config", path, "--out", tmp_path / "other")
        assert bad.status == 2
        assert words in bad.err
    os.close(reading)


def test_earlier_names_of_settings_work_and_are_noted_once(cli, story, tmp_path):
    (tmp_path / "my.toml").write_text("[model]\ndropout = 0.3\n[training]\nweight_decay = 0.01\n")
    given = [*SMALL, "--steps", 2, "--config", tmp_path / "my.toml"]
    over = ["--set", "regularization.dropout=0.4", "--set", "model.dropout_kind=locked"]
    done = cli("train", story, *given, *over, "--out", tmp_path / "run")
    assert done.status == 0, done.err
    kept = load(tmp_path / "run").settings.regularization
    assert (kept.dropout, kept.dropout_kind, kept.weight_decay) == (0.4, "locked", 0.01)
    for earlier, now in (
        ("model.dropout", "regularization.dropout"),
        ("model.dropout_kind", "regularization.dropout_kind"),
        ("training.weight_decay", "regularization.weight_decay"),
    ):
        assert done.err.count(f"{earlier} is now {now}") == 1
    assert done.err.count("earlier name still works") == 1
    quiet = cli("train", story, *given, "--out", tmp_path / "quiet", "--quiet")
    assert (quiet.status, quiet.err) == (0, "")
    assert load(tmp_path / "quiet").settings.regularization.dropout == 0.3


def test_both_names_of_a_setting_in_conflict_are_one_sentence(cli, story, tmp_path):
    both = ["--set", "model.dropout=0.3", "--set", "regularization.dropout=0.5"]
    done = cli("train", story, *both, "--out", tmp_path / "run")
    assert (done.status, done.out) == (2, "")
    assert "model.dropout = '0.3' is now regularization.dropout, which is set to '0.5'" in done.err
    assert done.err.strip().count("\n") == 0
    assert not (tmp_path / "run").exists()


def test_standard_input_tiny_text_and_list_of_settings(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = cli("train", "-", *SMALL, "--steps", 2, stdin=b"abcde")
    assert done.status == 0
    assert "Note: The text has" in done.err
    assert (tmp_path / "runs" / "text" / "model.safetensors").exists()
    listed = cli("train", "--list-settings")
    assert "training.patience = 20" in listed.out
    assert "regularization.dropout = 0.0" in listed.out
    assert "model.dropout" not in listed.out
    names = [entry["name"] for entry in json.loads(cli("train", "--list-settings", "--json").out)["settings"]]
    assert "model.hidden_size" in names


@pytest.mark.parametrize(
    "best",
    [
        None,
        {
            "step": 5,
            "valid_loss_nats": 900.0,
            "valid_bits_per_char": 1298.4,
            "valid_perplexity": None,
            "train_loss_nats": None,
        },
        {
            "step": 5,
            "valid_loss_nats": 2.0,
            "valid_bits_per_char": 2.9,
            "valid_perplexity": 7.4,
            "train_loss_nats": 1.0,
        },
    ],
)
def test_the_closing_table_is_printed_for_any_figures(capsys, best):
    finished = Finished("all 5 steps are done", False, 5, 3700.0, best, "runs/[red]my run")
    assert show.print_finished(finished, as_json=False) == 0
    table = capsys.readouterr().out
    assert "'runs/[red]my run'" in table
    assert "1h01m" in table
    assert ("memorized" in table) == (best is not None and best["train_loss_nats"] == 1.0)
    assert show.print_finished(finished, as_json=True) == 0
    assert json.loads(capsys.readouterr().out)["best"] == best


def test_seconds_are_shown_as_a_person_would_say_them():
    assert [show._duration(seconds) for seconds in (0.4, 59.4, 61, 3599.6, 90_000)] == [
        "0s",
        "59s",
        "1m01s",
        "1h00m",
        "25h00m",
    ]


def test_a_run_resumes_on_another_device_and_a_missing_one_is_reported_before_anything_changes(cli, run):
    before = (run / "config.json").read_bytes()
    refused = cli("train", "--resume", run, "--device", "cuda")
    assert (refused.status, refused.out) == (2, "")
    assert "No CUDA GPU" in refused.err
    assert (run / "config.json").read_bytes() == before
    assert cli("train", "--resume", run, "--device", "cpu").status == 0
    assert json.loads((run / "config.json").read_text())["training"]["device"] == "cpu"


def test_a_kernel_is_asked_for_by_its_name_and_a_run_keeps_it(cli, story, tmp_path):
    asked = cli("train", story, *SMALL, "--steps", 2, "--kernel", "fused", "--out", tmp_path / "new")
    assert "kernel fused (as requested)" in asked.err
    again = cli("train", "--resume", tmp_path / "new", "--steps", 3, "--kernel", "reference")
    assert (again.status, again.out) == (2, "")
    assert "leave out --kernel" in again.err
    wrong = cli("train", story, *SMALL, "--kernel", "cudnn", "--out", tmp_path / "other")
    assert wrong.status == 2
    assert "training.kernel" in wrong.err
    assert "'native'" in wrong.err


@pytest.mark.skipif("native" not in available_kernels(), reason="native is not available here")
def test_the_line_that_names_the_kernel_names_the_precision_and_why(cli, story, tmp_path):
    precision = ("--set", "training.precision=bfloat16")
    rounded = cli("train", story, *SMALL, "--steps", 2, "--kernel", "native", *precision, "--out", tmp_path / "new")
    assert re.search(r"kernel native \(as requested\), bfloat16 \(as requested", rounded.err)
    again = cli("train", "--resume", tmp_path / "new", "--steps", 3)
    assert re.search(r"kernel native \(as requested\), bfloat16 \(as requested", again.err)
    exact = cli("train", story, *SMALL, "--steps", 2, "--kernel", "fused", "--out", tmp_path / "other")
    assert "kernel fused (as requested), float32 (the only one of this kernel)" in exact.err


def test_unavailable_bfloat16_is_reported_before_a_run_is_created(cli, story, tmp_path):
    precision = ("--set", "training.precision=bfloat16")
    done = cli("train", story, *SMALL, "--kernel", "fused", *precision, "--out", tmp_path / "new")
    assert (done.status, done.out) == (2, "")
    assert "--set training.precision=float32" in done.err
    assert not (tmp_path / "new").exists()


def test_an_unavailable_kernel_is_reported_before_a_run_is_created(cli, story, tmp_path, monkeypatch):
    from unrolled.training import computing

    monkeypatch.setattr(computing, "available_kernels", lambda: {"fused": None})
    done = cli("train", story, *SMALL, "--set", "training.kernel=native", "--out", tmp_path / "new")
    assert (done.status, done.out) == (2, "")
    assert "training.kernel=auto" in done.err
    assert not (tmp_path / "new").exists()


def test_too_little_memory_is_one_sentence(cli, story, tmp_path, monkeypatch):
    from unrolled.training import start

    def out_of_memory(*args, **kwargs):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 17179869184 bytes.")

    monkeypatch.setattr(start, "LanguageModel", out_of_memory)
    done = cli("train", story, *SMALL, "--out", tmp_path / "new")
    assert (done.status, done.out) == (2, "")
    assert "not enough memory" in done.err
