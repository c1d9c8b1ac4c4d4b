"""Settings of a model, its data, its training and its decoding: one name for each, everywhere.

`model.hidden_size` is the same thing on the command line (`--set model.hidden_size=512`), in a TOML preset and in a
run's `config.json`. Settings are frozen, documented under themselves with their unit of counting, and checked
together: every problem is reported at once, with the nearest names where one is unknown.
"""

from __future__ import annotations

import difflib
import json
import sys
from collections.abc import Iterable, Mapping
from importlib import resources
from itertools import islice
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from unrolled.errors import UserError
from unrolled.strict_json import JsonProblem, parse_json

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MAX_HIDDEN_SIZE = 16_384
MAX_LAYERS = 64
MAX_SEED = 2**63 - 1
FEWEST_SUBWORDS = 257  # 256 bytes and <eos>
MOST_PROBLEMS = 20  # that one message lists
RULES = {  # in the words of people who do not know Python, by pydantic's names of errors
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "should be a whole number"),
    "int_parsing_size": "should be a whole number of fewer digits",
    **dict.fromkeys(("float_type", "float_parsing"), "should be a number"),
    "string_type": "should be a text",
    "string_unicode": "should be a text without halves of surrogate pairs",
    "string_too_short": "should not be empty",
    "string_too_long": "should have at most {max_length:,} characters",
    "tuple_type": "should be a text or a list of texts",
    "too_long": "should have at most {max_length:,} texts, not {actual_length:,}",
    **dict.fromkeys(("model_type", "model_attributes_type", "dict_type"), "should be settings, each with its name"),
}

# Earlier names of settings, which are still accepted wherever a user writes one.
MOVED = {
    "model.input_dropout": "regularization.input_dropout",
    "model.dropout": "regularization.dropout",
    "model.output_dropout": "regularization.output_dropout",
    "model.dropout_kind": "regularization.dropout_kind",
    "training.weight_decay": "regularization.weight_decay",
}

# Every number has inclusive bounds, inside which the arithmetic keeps its meaning: neither 5e-324 as a divisor nor a
# share so near 1 that what remains vanishes.
Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
DropoutRate = Annotated[float, Field(ge=0, le=0.99, allow_inf_nan=False)]
LearningRate = Annotated[float, Field(ge=1e-12, le=100, allow_inf_nan=False)]
Penalty = Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)]


class Section(BaseModel):
    """A frozen group of settings; unknown names are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_not_one(cls, value: Any) -> Any:
        if isinstance(value, bool):  # pydantic would read 1 or 0; no setting is a yes or no
            raise ValueError("should not be true or false")
        return value


class ModelSettings(Section):
    """The architecture. The vocabulary's size comes from the tokenizer."""

    embedding_size: int = Field(64, ge=1, le=MAX_HIDDEN_SIZE, description="numbers in a token's embedding (E)")
    hidden_size: int = Field(256, ge=1, le=MAX_HIDDEN_SIZE, description="numbers in a layer's hidden state (H)")
    layers: int = Field(1, ge=1, le=MAX_LAYERS, description="LSTM layers, one above the other (L)")
    tying: Literal["separate", "tied"] = Field(
        "separate", description="output layer with weights of its own, or with those of the embedding (E = H)"
    )
    initialization: Literal["glorot", "uniform", "orthogonal"] = Field(
        "orthogonal",
        description="first weights of a layer: glorot for each gate's matrix, the same with orthogonal recurrent "
        "matrices, or uniform in +-1/sqrt(H)",
    )

    @model_validator(mode="after")
    def _tied_sizes_agree(self) -> ModelSettings:
        if self.tying == "tied" and self.embedding_size != self.hidden_size:
            raise ValueError(
                f"model.tying = tied needs model.embedding_size = model.hidden_size, not {self.embedding_size} and "
                f"{self.hidden_size}"
            )
        return self


class RegularizationSettings(Section):
    """What keeps training from learning the text by heart; a trained model computes the same whatever it was."""

    input_dropout: DropoutRate = Field(0.0, description="fraction of the embeddings dropped in training")
    dropout: DropoutRate = Field(0.0, description="fraction of activations dropped after each layer in training")
    output_dropout: DropoutRate | None = Field(
        None, description="the same after the last layer alone; none: as dropout"
    )
    dropout_kind: Literal["elementwise", "locked"] = Field(
        "elementwise", description="a fresh mask at every step, or one for all steps of a sequence"
    )
    weight_decay: float = Field(0.0, ge=0, le=10, allow_inf_nan=False, description="decoupled weight decay")


class DataSettings(Section):
    """How text becomes a training and a validation sequence."""

    tokenizer: Literal["character", "word", "bpe"] = Field(
        "character", description="what a token is: a character, a word of [a-z0-9'], or a subword of bytes"
    )
    min_count: int = Field(3, ge=1, le=10**9, description="times a word must occur to be in the vocabulary (words)")
    vocabulary_size: int = Field(
        0, ge=0, le=10_000_000, description="tokens in the vocabulary at most; 0: no limit for words, 4096 for bpe"
    )
    split: Literal["position", "records"] = Field(
        "position", description="validate on the end of the text, or on records (cells, fields, lines) drawn by a seed"
    )
    valid_fraction: float = Field(
        0.05, ge=1e-9, le=0.999, allow_inf_nan=False, description="share of the text or the records kept for validation"
    )
    test_fraction: float = Field(
        0.1, ge=0, le=0.999, allow_inf_nan=False, description="share of the records that training never sees (records)"
    )
    split_seed: int = Field(1337, ge=0, le=MAX_SEED, description="seed of the draw of records (records)")
    speaker_column: str = Field(
        "", max_length=1000, description="column or field put before each text as a tag, such as GANDALF:; empty: none"
    )
    encoding_errors: Literal["strict", "replace"] = Field(
        "strict", description="bytes that are not UTF-8: an error, or replaced and counted"
    )

    @model_validator(mode="after")
    def _sizes_fit(self) -> DataSettings:
        if self.split == "records" and self.valid_fraction + self.test_fraction >= 1:
            raise ValueError(
                f"records need data.valid_fraction + data.test_fraction below 1, not {self.valid_fraction:g} and "
                f"{self.test_fraction:g}"
            )
        if self.tokenizer == "bpe" and 0 < self.vocabulary_size < FEWEST_SUBWORDS:
            raise ValueError(
                f"bpe needs data.vocabulary_size of at least {FEWEST_SUBWORDS} (every byte and the end), not "
                f"{self.vocabulary_size}"
            )
        return self


class TrainingSettings(Section):
    """How the model learns. Counts are optimiser steps unless a name says otherwise."""

    batching: Literal["windows", "streams"] = Field(
        "windows", description="random windows from a zero state, or contiguous streams with carried state"
    )
    batch_size: int = Field(64, ge=1, le=65_536, description="sequences a step (B)")
    window: int = Field(128, ge=1, le=65_536, description="tokens of a sequence a step (T)")
    steps: int = Field(20_000, ge=1, le=10**9, description="optimiser steps")
    epochs: float | None = Field(
        None, ge=1e-6, le=10**6, allow_inf_nan=False, description="passes over the text, instead of steps"
    )
    minutes: float | None = Field(None, ge=0.001, le=10**6, allow_inf_nan=False, description="budget of training time")
    optimizer: Literal["adam", "muon"] = Field(
        "adam", description="adam with decoupled weight decay, or muon for the layers' matrices and adam for the rest"
    )
    learning_rate: LearningRate = Field(0.001, description="highest learning rate (adam)")
    adam_beta2: float = Field(
        0.999, ge=0.001, le=0.999999, allow_inf_nan=False, description="decay of adam's mean square"
    )
    muon_learning_rate: LearningRate = Field(0.02, description="highest rate of muon")
    muon_momentum: float = Field(0.95, ge=0, le=0.9999, allow_inf_nan=False, description="momentum of muon")
    schedule: Literal["constant", "cosine"] = Field(
        "constant", description="learning rate over the steps (or the minutes, whichever is further on)"
    )
    final_rate_fraction: Probability = Field(0.01, description="last learning rate of the cosine, as a share")
    warmup_steps: int = Field(0, ge=0, le=10**9, description="steps of linear rise to the learning rate")
    warmup_fraction: Probability = Field(0.0, description="the same as a share of the training, steps or minutes")
    clip_norm: float = Field(5.0, ge=1e-6, le=10**9, allow_inf_nan=False, description="largest global gradient norm")
    eval_interval: int = Field(
        500, ge=0, le=10**9, description="steps between evaluations on validation text; 0: once a pass over the text"
    )
    eval_tokens: int = Field(2_000_000, ge=1, le=10**12, description="validation tokens an evaluation reads at most")
    checkpoint_interval: int = Field(500, ge=1, le=10**9, description="steps between checkpoints")
    patience: int = Field(20, ge=0, le=10**9, description="evaluations without a better one before stopping; 0: never")
    spike_factor: float = Field(
        3.0, ge=1.01, le=10**9, allow_inf_nan=False, description="loss over its running mean that counts as a spike"
    )
    preview_tokens: int = Field(200, ge=0, le=10_000, description="length of the sample shown at an evaluation")
    preview_prompt: str = Field("", max_length=10_000, description="text that the sample goes on from")
    kernel: Literal["auto", "reference", "fused", "native"] = Field(
        "auto", description="implementation of the recurrence"
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="of the operands of products while training; sums and weights are float32"
    )
    device: str = Field("auto", max_length=32, description="auto, cpu, cuda, cuda:N or mps")
    threads: int = Field(0, ge=0, le=1024, description="CPU threads; 0: as PyTorch finds best")
    seed: int = Field(1337, ge=0, le=MAX_SEED, description="seed of every random choice")


class SamplingSettings(Section):
    """How text is drawn from the model; the order of operations is in `unrolled.sampling.processors`."""

    max_tokens: int = Field(400, ge=0, le=1_000_000, description="tokens to write at most")
    min_tokens: int = Field(0, ge=0, le=1_000_000, description="tokens to write before a stop counts")
    temperature: float = Field(0.8, ge=0, le=100, allow_inf_nan=False, description="0: always the likeliest token")
    top_k: int = Field(0, ge=-1, le=10_000_000, description="keep the k likeliest tokens; 0 or -1: off")
    top_p: Probability = Field(1.0, description="keep the smallest set with this probability mass; 1: off")
    min_p: Probability = Field(0.0, description="drop tokens below this share of the likeliest one; 0: off")
    typical_p: float = Field(
        1.0, ge=0.001, le=1, allow_inf_nan=False, description="keep the most typical tokens of this mass; 1: off"
    )
    repetition_penalty: float = Field(
        1.0, ge=0.01, le=100, allow_inf_nan=False, description="divides a repeated token's positive logit; 1: off"
    )
    repetition_window: int = Field(
        200, ge=0, le=1_000_000, description="last tokens of prompt and output that the penalty looks at; 0: all"
    )
    presence_penalty: Penalty = Field(0.0, description="taken off the logit of a token once it was written")
    frequency_penalty: Penalty = Field(0.0, description="taken off the logit of a token each time it was written")
    stop: tuple[Annotated[str, Field(min_length=1, max_length=1000)], ...] = Field(
        (), max_length=64, description="texts that end the output; not part of it"
    )
    unknown_token: Literal["banned", "allowed"] = Field(
        "banned", description="whether the token for unknown words or characters may be written"
    )
    n: int = Field(1, ge=1, le=1024, description="samples; sample j is seeded with seed + j")
    seed: int | None = Field(None, ge=-(2**63), le=MAX_SEED, description="seed; none: one is drawn and reported")

    @model_validator(mode="before")
    @classmethod
    def _one_stop_is_a_list_of_one(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and isinstance(values.get("stop"), str):
            return {**values, "stop": (values["stop"],)}
        return values


class Settings(Section):
    """All settings of a training run."""

    model: ModelSettings = ModelSettings()
    regularization: RegularizationSettings = RegularizationSettings()
    data: DataSettings = DataSettings()
    training: TrainingSettings = TrainingSettings()
    sampling: SamplingSettings = SamplingSettings()


def preset_names() -> list[str]:
    """Return the names of the presets that come with the package, sorted."""
    folder = resources.files("unrolled") / "presets"
    return sorted(entry.name[: -len(".toml")] for entry in folder.iterdir() if entry.name.endswith(".toml"))


def preset_values(name: str) -> dict[str, dict[str, Any]]:
    """Return a preset's values by section.

    Raises:
        UserError: there is no such preset; the nearest names are suggested.
    """
    names = preset_names()
    if name not in names:
        raise UserError(f"There is no preset named {name!r}; {suggestion(name, names)}.")
    return tomllib.loads((resources.files("unrolled") / "presets" / f"{name}.toml").read_text("utf-8"))


def make_settings(
    preset: str | None = None, overrides: Mapping[str, Any] | Iterable[tuple[str, Any]] | None = None
) -> Settings:
    """Build settings from a preset and dotted overrides, e.g. `{"model.hidden_size": "512"}`.

    Values may be text, as the command line gives them, or already typed. Every problem goes into one message. Earlier
    names of settings that have moved are accepted; `note_on_moved` says which those are.

    Raises:
        UserError: unknown preset or names, values of a wrong type or out of range, a setting by both of its names.
    """
    from_preset = {} if preset is None else preset_values(preset)
    values = {section: dict(entries) for section, entries in from_preset.items()}
    named, problems = _by_current_names(dict(() if overrides is None else overrides))
    for name, value in named.items():
        section, _, key = name.partition(".")
        if name not in setting_names():
            problems.append(f"there is no setting named {name!r} ({suggestion(name, setting_names())})")
        else:
            values.setdefault(section, {})[key] = _typed(section, key, value)
    return settings_from_values(values, problems)


def settings_from_values(values: Mapping[str, Any], problems: Iterable[str] = ()) -> Settings:
    """Validate settings by section, as a preset or a run's `config.json` holds them.

    Raises:
        UserError: with all `problems` and all that validation finds.
    """
    problems = list(problems)
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        problems += validation_problems(error)
    if problems:
        raise UserError(_sentence(problems))
    return settings


def sampling_settings(values: Mapping[str, Any], defaults: SamplingSettings | None = None) -> SamplingSettings:
    """Validate decoding settings given by plain names, over `defaults`.

    Raises:
        UserError: with every problem in one message.
    """
    base = (SamplingSettings() if defaults is None else defaults).model_dump()
    try:
        return SamplingSettings.model_validate({**base, **values})
    except ValidationError as error:
        raise UserError(_sentence(validation_problems(error, list(SamplingSettings.model_fields)))) from None


def by_current_names(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return dotted settings with the names of today in place of earlier ones.

    Raises:
        UserError: a setting is given by both of its names, with different values.
    """
    named, problems = _by_current_names(overrides)
    if problems:
        raise UserError(_sentence(problems))
    return named


def note_on_moved(names: Iterable[str]) -> str | None:
    """Return a sentence on the earlier names among these, or None where there are none."""
    moved = [f"{name} is now {MOVED[name]}" for name in dict.fromkeys(names) if name in MOVED]
    return f"{'; '.join(moved)}. The earlier name still works." if moved else None


def sampling_range(name: str) -> tuple[float, float]:
    """Return the lowest and the highest value of a decoding setting that is a number."""
    rules = SamplingSettings.model_fields[name].metadata
    return next(rule.ge for rule in rules if hasattr(rule, "ge")), next(
        rule.le for rule in rules if hasattr(rule, "le")
    )


def setting_names() -> list[str]:
    """Return every dotted setting name in the order of the documentation."""
    return [
        f"{section}.{key}" for section, field in Settings.model_fields.items() for key in field.annotation.model_fields
    ]


def setting_descriptions() -> list[tuple[str, str, str]]:
    """Return (dotted name, default, description) for every setting."""
    return [
        (f"{section}.{key}", json.dumps(entry.default), entry.description or "")
        for section, field in Settings.model_fields.items()
        for key, entry in field.annotation.model_fields.items()
    ]


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return 'did you mean ...' with the nearest of the known names, or a list of all when none is near."""
    known = list(known)
    near = [k for k in known if k.rpartition(".")[2] == name.rpartition(".")[2]]  # the section alone is wrong
    near = near or difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"


def validation_problems(error: ValidationError, known: list[str] | None = None) -> list[str]:
    """Return one plain clause for each thing that pydantic found wrong; `known` names are suggested."""
    known = setting_names() if known is None else known
    found = error.errors(include_url=False)
    problems = [_problem(item, known) for item in found[:MOST_PROBLEMS]]
    return problems + [f"{len(found) - MOST_PROBLEMS:,} more problems"] * (len(found) > MOST_PROBLEMS)


def _problem(item: ErrorDetails, known: list[str]) -> str:
    name = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        return f"there is no setting named {_shown(name)} ({suggestion(name, known)})"
    if item["type"] == "value_error" and isinstance(item["input"], Mapping | BaseModel):  # of several settings
        return item["msg"].removeprefix("Value error, ")
    kind = item["type"]
    rule = RULES[kind].format(**item.get("ctx", {})) if kind in RULES else item["msg"]
    if kind in ("int_type", "float_type") and isinstance(item["input"], str):  # where nothing is converted
        rule += " without quotes"
    rule = rule.removeprefix("Input ").removeprefix("Value error, ")
    return f"{name or 'the value'} = {_shown(item['input'])} {rule[0].lower()}{rule[1:]}"


def _by_current_names(overrides: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return settings by the names of today, and what is wrong where one is given by both names."""
    named, problems = {}, []
    for name, value in overrides.items():
        current = MOVED.get(name, name)
        if current in named and str(named[current]) != str(value):
            problems.append(_clash(current, overrides))
        named[current] = value
    return named, problems


def _clash(current: str, overrides: Mapping[str, Any]) -> str:
    earlier = next(name for name, now in MOVED.items() if now == current and name in overrides)
    return (
        f"{earlier} = {_shown(overrides[earlier])} is now {current}, which is given as {_shown(overrides[current])}; "
        f"leave out {earlier}"
    )


def _typed(section: str, key: str, value: Any) -> Any:
    """Turn command-line text into a list or null where a setting takes one; pydantic does the rest."""
    if not isinstance(value, str):
        return value
    annotation = Settings.model_fields[section].annotation.model_fields[key].annotation
    if value.lower() in ("none", "null") and type(None) in getattr(annotation, "__args__", ()):
        return None
    if key == "stop" and value.startswith("["):
        try:
            return parse_json(value)
        except JsonProblem:
            return value
    return value


def _shown(value: Any, limit: int = 60) -> str:
    """Write a value as a user knows it: a text in quotes, all else as JSON."""
    if isinstance(value, int) and value.bit_length() > 1_000:  # Python refuses to write thousands of digits
        return "a number of hundreds of digits"
    text = repr(value) if isinstance(value, str) else json.dumps(_for_json(value), ensure_ascii=False, default=str)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _for_json(value: Any, depth: int = 3) -> Any:
    """Return the beginning of a value, which is all that is shown of it."""
    if isinstance(value, str):
        return value[:100]
    if depth and isinstance(value, Mapping):
        return {str(name)[:100]: _for_json(part, depth - 1) for name, part in islice(value.items(), 30)}
    if depth and isinstance(value, list | tuple | set | frozenset):
        return [_for_json(part, depth - 1) for part in islice(value, 30)]
    return value if value is None or isinstance(value, bool | int | float) else "..."


def _sentence(problems: list[str]) -> str:
    if len(problems) == 1:
        return f"The settings do not fit: {problems[0]}."
    return "The settings do not fit:\n" + "\n".join(f"  - {problem}" for problem in problems)
