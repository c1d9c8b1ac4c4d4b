"""Settings: presets, overrides, and messages about invalid values."""

from __future__ import annotations

import json
import math
import re

import pytest
from pydantic import ValidationError

from unrolled.config import (
    RENAMED_SETTINGS,
    ModelSettings,
    RegularizationSettings,
    SamplingSettings,
    Settings,
    by_current_names,
    make_settings,
    note_on_moved,
    preset_names,
    preset_values,
    sampling_settings,
    setting_descriptions,
    setting_names,
    settings_from_values,
    suggestion,
)
from unrolled.errors import UserError

NUMBERS = [
    f"{section}.{key}"
    for section, field in Settings.model_fields.items()
    for key, entry in field.annotation.model_fields.items()
    if entry.annotation in (int, float, float | None, int | None)
]


def problem_of(*given, **named) -> str:
    with pytest.raises(UserError) as caught:
        make_settings(*given, **named)
    return str(caught.value)


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_valid_and_not_empty(name):
    assert make_settings(name) != Settings() or name == "stories"
    assert preset_values(name)


def test_the_stories_preset_is_the_textbook_recipe():
    settings = make_settings("stories")
    model, training = settings.model, settings.training
    assert (model.embedding_size, model.hidden_size, model.layers) == (64, 256, 1)
    assert (training.window, training.batch_size, training.batching) == (128, 64, "windows")
    assert (training.optimizer, training.steps, training.schedule) == ("adam", 20_000, "constant")
    assert (training.warmup_steps, training.minutes) == (0, None)
    assert settings.regularization == RegularizationSettings()
    assert (settings.regularization.dropout, settings.regularization.weight_decay) == (0, 0)
    assert settings.data.tokenizer == "character"


def test_the_textbook_recipe_is_also_the_default_without_a_preset():
    assert make_settings() == make_settings("stories") == Settings()


def test_text_of_the_command_line_gets_the_type_of_its_setting():
    settings = make_settings(
        "stories",
        {
            "model.hidden_size": "512",
            "regularization.dropout": "0.25",
            "training.minutes": "1.5",
            "training.learning_rate": "1e-3",
            "training.batching": "streams",
            "training.preview_prompt": "123",
            "sampling.seed": "-5",
        },
    )
    assert settings.model == ModelSettings(hidden_size=512)
    assert settings.regularization == RegularizationSettings(dropout=0.25)
    assert (settings.training.minutes, settings.training.learning_rate) == (1.5, 0.001)
    assert (settings.training.batching, settings.training.preview_prompt) == ("streams", "123")
    assert settings.sampling.seed == -5


@pytest.mark.parametrize("text", ["none", "None", "null"])
def test_none_is_a_value_only_where_a_setting_may_be_empty(text):
    assert make_settings(overrides={"training.minutes": text}).training.minutes is None
    assert make_settings(overrides={"training.preview_prompt": text}).training.preview_prompt == text
    assert "training.steps" in problem_of(overrides={"training.steps": text})


@pytest.mark.parametrize(
    ("value", "expected"),
    [("END", ("END",)), ('["a", "\\n"]', ("a", "\n")), ("[draft", ("[draft",)), (["a", "b"], ("a", "b")), ([], ())],
)
def test_stop_strings_are_one_text_or_a_list(value, expected):
    assert make_settings(overrides={"sampling.stop": value}).sampling.stop == expected


@pytest.mark.parametrize("text", ["[" * 900, "[NaN]", "[1e999]", "[b]", '["a"'])
def test_a_stop_string_that_begins_like_a_list_and_is_not_one_is_a_text(text):
    assert make_settings(overrides={"sampling.stop": text}).sampling.stop == (text,)


@pytest.mark.parametrize("text", ['["a", 1]', "[" * 100_000, "[" + "1" * 5_000 + "]"])
def test_a_list_of_stop_strings_with_something_else_in_it_is_refused(text):
    with pytest.raises(UserError, match=r"sampling\.stop"):
        make_settings(overrides={"sampling.stop": text})


def test_typed_values_are_taken_as_they_are():
    settings = make_settings(overrides={"model.hidden_size": 33, "training.minutes": None, "training.clip_norm": 2})
    assert (settings.model.hidden_size, settings.training.minutes, settings.training.clip_norm) == (33, None, 2.0)


def test_an_override_replaces_the_preset_and_a_later_one_an_earlier_one():
    overrides = [("model.hidden_size", "7"), ("model.hidden_size", "9")]
    settings = make_settings("stories-fast", overrides)
    assert settings.model.hidden_size == 9
    assert settings.training == make_settings("stories-fast").training


def test_all_problems_are_in_one_message():
    message = problem_of(
        "stories",
        {"model.hiden_size": "4", "model.layers": "0", "training.steps": "many", "training.optimizer": "sgd"},
    )
    lines = message.splitlines()
    assert len(lines) == 5
    for name in ("model.hiden_size", "model.layers = '0'", "training.steps = 'many'", "training.optimizer = 'sgd'"):
        assert sum(name in line for line in lines) == 1


def test_one_problem_is_one_sentence_with_the_value_and_the_rule():
    message = problem_of(overrides={"model.hidden_size": "0"})
    assert message == "The settings are not valid: model.hidden_size = '0' should be greater than or equal to 1."


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("model.hiden_size", "model.hidden_size"),
        ("hidden_size", "model.hidden_size"),
        ("training.hidden_size", "model.hidden_size"),
        ("training.learning-rate", "training.learning_rate"),
        ("lr.learning_rate", "training.learning_rate"),
    ],
)
def test_the_nearest_name_of_a_setting_is_suggested(wrong, right):
    message = problem_of(overrides={wrong: "1"})
    assert f"no setting named {wrong!r}" in message
    assert "did you mean" in message
    assert right in message


def test_every_earlier_name_leads_to_a_setting_and_is_not_one_itself():
    assert set(RENAMED_SETTINGS.values()) <= set(setting_names())
    assert not set(RENAMED_SETTINGS) & set(setting_names())


@pytest.mark.parametrize(
    ("earlier", "now", "value"),
    [
        ("model.dropout", "regularization.dropout", "0.3"),
        ("model.input_dropout", "regularization.input_dropout", 0.2),
        ("model.output_dropout", "regularization.output_dropout", "none"),
        ("model.dropout_kind", "regularization.dropout_kind", "locked"),
        ("training.weight_decay", "regularization.weight_decay", "0.1"),
    ],
)
def test_a_setting_is_accepted_under_its_old_name_and_the_new_one_is_named(earlier, now, value):
    assert make_settings("dialogue-best", {earlier: value}) == make_settings("dialogue-best", {now: value})
    assert by_current_names({earlier: value, "training.steps": 3}) == {now: value, "training.steps": 3}
    note = note_on_moved(["training.steps", earlier, earlier])
    assert note == f"{earlier} is now {now}. The earlier name still works."
    assert note_on_moved(["training.steps", now]) is None


def test_a_setting_by_both_of_its_names_is_refused_where_they_disagree():
    both = {"model.dropout": "0.3", "regularization.dropout": 0.5, "training.steps": "0"}
    clash = "model.dropout = '0.3' is now regularization.dropout, which is set to 0.5; leave out model.dropout"
    for given in (both, dict(reversed(both.items()))):
        assert clash in problem_of(overrides=given)
        assert "training.steps = '0'" in problem_of(overrides=given)
        with pytest.raises(UserError, match=re.escape(clash)):
            by_current_names(given)
    agreeing = {"model.dropout": "0.5", "regularization.dropout": 0.5}
    assert make_settings(overrides=agreeing).regularization.dropout == 0.5


def test_a_problem_of_a_moved_setting_names_it_as_it_is_called_now():
    assert "regularization.dropout = '1.5' should be less than or equal to 0.99" in problem_of(
        overrides={"model.dropout": "1.5"}
    )
    with pytest.raises(UserError, match=r"did you mean regularization\.dropout\?"):
        settings_from_values({"model": {"dropout": 0.3}})


def test_the_closest_name_of_a_preset_is_suggested():
    assert re.fullmatch(r"There is no preset named 'storys'; did you mean stories( or [\w-]+)*\?", problem_of("storys"))
    assert problem_of("xyz") == f"There is no preset named 'xyz'; known: {', '.join(preset_names())}."


def test_an_empty_name_is_not_a_preset():
    assert "no preset named ''" in problem_of("")


def test_all_names_are_listed_if_none_is_close():
    assert suggestion("zzz", ["alpha", "beta"]) == "known: alpha, beta"


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", ["nan", math.nan, "inf", math.inf, -math.inf, "1e999", "", " ", "one", [1], {}])
def test_what_is_no_finite_number_is_refused_for_every_number(name, value):
    assert name in problem_of(overrides={name: value})


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize(("value", "shown"), [(True, "true"), (False, "false")])
def test_true_and_false_are_no_numbers(name, value, shown):
    message = problem_of(overrides={name: value})
    assert f"{name} = {shown} should not be true or false" in message


@pytest.mark.parametrize(
    "name", sorted(set(NUMBERS) - {"sampling.seed", "sampling.presence_penalty", "sampling.frequency_penalty"})
)
def test_a_negative_number_is_refused_except_where_it_is_meaningful(name):
    assert f"{name} = '-2'" in problem_of(overrides={name: "-2"})


@pytest.mark.parametrize("name", NUMBERS)
def test_an_impossibly_large_number_is_refused(name):
    assert name in problem_of(overrides={name: "1" + "0" * 30})


@pytest.mark.parametrize("name", ["training.steps", "model.layers", "training.seed"])
def test_a_count_is_whole(name):
    assert name in problem_of(overrides={name: "1.5"})


@pytest.mark.parametrize("name", ["sampling.top_p", "sampling.min_p", "training.final_rate_fraction"])
def test_a_fraction_is_at_most_one(name):
    assert make_settings(overrides={name: 1}) is not None
    assert name in problem_of(overrides={name: "1.0001"})


def test_tied_weights_need_an_embedding_of_the_hidden_size():
    message = problem_of(None, {"model.tying": "tied", "model.embedding_size": 3, "model.hidden_size": 5})
    assert message == (
        "The settings are not valid: model.tying = tied needs model.embedding_size = model.hidden_size, not 3 and 5."
    )
    assert make_settings(None, {"model.tying": "tied", "model.embedding_size": 256}).model.tying == "tied"


def test_a_value_shown_in_an_error_is_cut_where_it_is_long():
    assert len(problem_of(overrides={"training.kernel": "x" * 10_000})) < 300


@pytest.mark.parametrize(
    "values", [{"model": 3}, {"model": True}, {"model": {"hidden_size": 4, "hue": 5}}, {"modle": {}}]
)
def test_foreign_values_of_a_file_are_a_users_error(values):
    with pytest.raises(UserError, match=r"mod|hue"):
        settings_from_values(values)


def test_settings_are_frozen():
    settings = make_settings()
    with pytest.raises(ValidationError, match="frozen"):
        settings.training.steps = 1
    with pytest.raises(ValidationError, match="frozen"):
        settings.model = ModelSettings()


def test_settings_survive_json():
    settings = make_settings("stories-fast", {"sampling.stop": ["a", "\n"], "training.minutes": 3})
    assert settings_from_values(json.loads(settings.model_dump_json())) == settings


def test_every_setting_has_one_name_and_a_description():
    described = setting_descriptions()
    names = [name for name, _, _ in described]
    assert names == setting_names()
    assert len(set(names)) == len(names)
    for name, default, description in described:
        assert len(description) > 5, name
        section, key = name.split(".")
        typed = getattr(getattr(Settings(), section), key)
        assert json.loads(default) == (list(typed) if isinstance(typed, tuple) else typed)


def test_sampling_settings_replace_their_defaults():
    defaults = SamplingSettings(temperature=0.5, top_k=7)
    settings = sampling_settings({"top_k": 9}, defaults)
    assert (settings.temperature, settings.top_k) == (0.5, 9)
    assert sampling_settings({}) == SamplingSettings()


def test_all_problems_of_sampling_settings_are_in_one_message_without_the_section():
    with pytest.raises(UserError) as caught:
        sampling_settings({"temprature": 1, "top_p": 2, "stop": ""})
    lines = str(caught.value).splitlines()
    assert len(lines) == 4
    assert "did you mean temperature?" in str(caught.value)
    assert any("top_p = 2" in line for line in lines)
    assert any("stop" in line for line in lines)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"data.split": "records", "data.valid_fraction": 0.6, "data.test_fraction": 0.4}, "below 1, not 0.6 and 0.4"),
        ({"data.tokenizer": "bpe", "data.vocabulary_size": 256}, "at least 257 .*, not 256"),
        ({"data.tokenizer": "words"}, "should be 'character', 'word' or 'bpe'"),
        ({"data.min_count": 0}, "data.min_count"),
    ],
)
def test_inconsistent_data_settings_are_refused(wrong, words):
    assert re.search(words, problem_of(overrides=wrong))


def test_fractions_of_records_matter_to_records_alone():
    assert make_settings(overrides={"data.valid_fraction": 0.95}).data.test_fraction == 0.1
    assert make_settings(overrides={"data.tokenizer": "bpe", "data.vocabulary_size": 257}).data.vocabulary_size == 257
    assert make_settings(overrides={"data.tokenizer": "word", "data.vocabulary_size": 9}).data.vocabulary_size == 9
