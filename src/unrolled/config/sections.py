"""The settings by section: model, regularization, data, training, sampling, each documented with its unit of counting.

Settings are frozen, and every number has a lowest and a highest value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

MAX_HIDDEN_SIZE = 16_384
MAX_LAYERS = 64
MAX_SEED = 2**63 - 1
MIN_BPE_VOCABULARY = 257  # 256 bytes and <eos>

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
        if self.tokenizer == "bpe" and 0 < self.vocabulary_size < MIN_BPE_VOCABULARY:
            raise ValueError(
                f"bpe needs data.vocabulary_size of at least {MIN_BPE_VOCABULARY} (every byte and the end), not "
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
