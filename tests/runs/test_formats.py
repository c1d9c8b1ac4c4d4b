"""Old formats are upgraded step by step; newer and impossible ones are refused."""

import json

import pytest

from unrolled.errors import UserError
from unrolled.runs import RunFolder, formats
from unrolled.runs.formats import FORMAT_VERSION, UPGRADES, upgraded


def test_a_configuration_of_today_is_unchanged():
    config = {"format_version": FORMAT_VERSION, "other": 1}
    assert upgraded(config) == config
    assert len(UPGRADES) == FORMAT_VERSION


def test_a_run_of_the_first_format_opens_after_a_change_of_format(run, monkeypatch):
    def seed_got_a_section_of_its_own(config):
        return {**config, "vocabulary_size": config["vocabulary_size_before"]}

    values = json.loads((run / "config.json").read_text())
    values["vocabulary_size_before"] = values.pop("vocabulary_size")
    (run / "config.json").write_text(json.dumps(values))
    with pytest.raises(UserError, match="vocabulary_size is missing"):
        RunFolder(run).read_config()
    monkeypatch.setattr(formats, "UPGRADES", (*UPGRADES, seed_got_a_section_of_its_own))
    monkeypatch.setattr(formats, "FORMAT_VERSION", FORMAT_VERSION + 1)
    assert RunFolder(run).read_config().vocabulary_size == values["vocabulary_size_before"]


def test_version_2_gives_regularization_a_section_of_its_own():
    model = {"hidden_size": 3, "dropout": 0.3, "input_dropout": 0.1, "output_dropout": None, "dropout_kind": "locked"}
    training = {"steps": 4, "weight_decay": 0.2}
    assert upgraded({"format_version": 1, "model": model, "training": training, "other": 5}) == {
        "format_version": FORMAT_VERSION,
        "model": {"hidden_size": 3},
        "training": {"steps": 4},
        "regularization": {
            "dropout": 0.3,
            "input_dropout": 0.1,
            "output_dropout": None,
            "dropout_kind": "locked",
            "weight_decay": 0.2,
        },
        "other": 5,
    }
    assert model["dropout"] == 0.3  # what was given is left as it was


@pytest.mark.parametrize("damage", [{}, {"model": [], "training": 3}, {"model": None}, {"regularization": "full"}])
def test_a_damaged_first_version_is_upgraded_as_far_as_it_goes(damage):
    expected = {**damage, "format_version": FORMAT_VERSION, "regularization": {}}
    assert upgraded({"format_version": 1, **damage}) == expected


def test_a_run_by_the_earlier_names_is_the_first_format_alone(run):
    def edited(**changes):
        values = json.loads((run / "config.json").read_text())
        values["model"]["dropout"] = values.pop("regularization")["dropout"]
        (run / "config.json").write_text(json.dumps({**values, **changes}))
        return RunFolder(run).read_config

    before = RunFolder(run).read_config()
    read = edited(format_version=FORMAT_VERSION)
    with pytest.raises(UserError, match=r"no setting named 'model.dropout' \(did you mean regularization.dropout\?\)"):
        read()
    values = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**values, "format_version": 1}))
    assert RunFolder(run).read_config() == before


def test_upgrades_are_applied_in_order_from_the_version_of_the_file(monkeypatch):
    def noting(name):
        return lambda config: {**config, "seen": [*config.get("seen", []), name]}

    monkeypatch.setattr(formats, "UPGRADES", (noting("to 1"), noting("to 2"), noting("to 3")))
    monkeypatch.setattr(formats, "FORMAT_VERSION", 3)
    assert upgraded({"format_version": 1}) == {"format_version": 3, "seen": ["to 2", "to 3"]}
    assert upgraded({"format_version": 2})["seen"] == ["to 3"]


@pytest.mark.parametrize("version", [None, 0, -1, True, "1", 1.0, [1]])
def test_a_version_that_never_was_is_refused(version):
    with pytest.raises(UserError, match="never existed"):
        upgraded({"format_version": version})


def test_a_newer_version_asks_for_an_upgrade():
    with pytest.raises(UserError, match="upgrade unrolled"):
        upgraded({"format_version": FORMAT_VERSION + 1})
