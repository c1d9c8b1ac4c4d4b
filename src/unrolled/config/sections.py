"""The settings in their sections: model, regularization, data, training and sampling.

Settings are frozen. Each description states the unit, and every number has a lowest and a highest value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

MAX_HIDDEN_SIZE = 16_384
MAX_LAYERS = 64
MAX_SEED = 2**63 - 1
MIN_BPE_VOCABULARY = 257  # 256 bytes and <eos>

# Bounds are inclusive and keep the arithmetic meaningful: they exclude divisors such as 5e-324, and fractions so close
# to 1 that the remainder vanishes.
Precision = Literal["float32", "bfloat16"]  # of operands; `unrolled.native.DTYPES` has their types
Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
DropoutRate = Annotated[float, Field(ge=0, le=0.99, allow_inf_nan=False)]
LearningRate = Annotated[float, Field(ge=1e-12, le=100, allow_inf_nan=False)]
Penalty = Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)]


class Section(BaseModel):
    """A frozen group of settings that rejects unknown names."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    @field_validator("*", mode="before")
    @classmethod
    def _reject_booleans(cls, value: Any) -> Any:
        if isinstance(value, bool):  # pydantic would convert it to 1 or 0; no setting is a boolean
            raise ValueError("should not be true or false")
        return value


class ModelSettings(Section):
    """The architecture. The vocabulary size comes from the tokenizer."""

    embedding_size: int = Field(64, ge=1, le=MAX_HIDDEN_SIZE, description="size of a token's embedding (E)")
    hidden_size: int = Field(256, ge=1, le=MAX_HIDDEN_SIZE, description="size of a layer's hidden state (H)")
    layers: int = Field(1, ge=1, le=MAX_LAYERS, description="number of stacked LSTM layers (L)")
    tying: Literal["separate", "tied"] = Field(
        "separate",
        description="whether the output layer has separate weights or those of the embedding (tied; needs E = H)",
    )
    initialization: Literal["glorot", "uniform", "orthogonal"] = Field(
        "orthogonal",
        description="initial weights of a layer: glorot for each gate's matrix, the same with orthogonal recurrent "
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
    """What reduces overfitting during training; it has no effect on what a trained model computes."""

    input_dropout: DropoutRate = Field(0.0, description="fraction of the embeddings dropped in training")
    dropout: DropoutRate = Field(0.0, description="fraction of activations dropped after each layer in training")
    output_dropout: DropoutRate | None = Field(
        None, description="fraction of activations dropped after the last layer; none: equal to dropout"
    )
    dropout_kind: Literal["elementwise", "locked"] = Field(
        "elementwise", description="a new mask at every time step, or one mask for a whole sequence (locked)"
    )
    weight_decay: float = Field(0.0, ge=0, le=10, allow_inf_nan=False, description="decoupled weight decay")


class DataSettings(Section):
    """How text is tokenized and split into training, validation and test parts."""

    tokenizer: Literal["character", "word", "bpe"] = Field(
        "character", description="what a token is: a character, a word of [a-z0-9'], or a byte-level subword"
    )
    min_count: int = Field(
        3, ge=1, le=10**9, description="occurrences that a word needs to enter the vocabulary (words)"
    )
    vocabulary_size: int = Field(
        0, ge=0, le=10_000_000, description="maximum size of the vocabulary; 0: unlimited for words, 4096 for bpe"
    )
    split: Literal["position", "records"] = Field(
        "position", description="validate on the end of the text, or on randomly chosen records (cells, fields, lines)"
    )
    valid_fraction: float = Field(
        0.05, ge=1e-9, le=0.999, allow_inf_nan=False, description="fraction of the text or records for validation"
    )
    test_fraction: float = Field(
        0.1, ge=0, le=0.999, allow_inf_nan=False, description="fraction of the records held out for testing (records)"
    )
    split_seed: int = Field(1337, ge=0, le=MAX_SEED, description="seed of the random choice of records (records)")
    speaker_column: str = Field(
        "",
        max_length=1000,
        description="column or field that goes before each text as a tag, such as GANDALF:; empty: none",
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
    """How the model is trained. Counts are optimizer steps unless the name says otherwise."""

    # Batches.
    batching: Literal["windows", "streams"] = Field(
        "windows", description="random windows from a zero state, or contiguous streams that carry the state over"
    )
    batch_size: int = Field(64, ge=1, le=65_536, description="sequences per step (B)")
    window: int = Field(128, ge=1, le=65_536, description="tokens per sequence and step (T)")
    # Duration.
    steps: int = Field(20_000, ge=1, le=10**9, description="optimizer steps")
    epochs: float | None = Field(
        None, ge=1e-6, le=10**6, allow_inf_nan=False, description="passes over the text, instead of steps"
    )
    minutes: float | None = Field(
        None, ge=0.001, le=10**6, allow_inf_nan=False, description="limit on training time, in minutes"
    )
    # Optimizer and learning rate.
    optimizer: Literal["adam", "muon"] = Field(
        "adam", description="adam with decoupled weight decay, or muon for the layers' matrices and adam for the rest"
    )
    learning_rate: LearningRate = Field(0.001, description="peak learning rate (adam)")
    adam_beta2: float = Field(
        0.999, ge=0.001, le=0.999999, allow_inf_nan=False, description="decay rate of adam's second moment"
    )
    muon_learning_rate: LearningRate = Field(0.02, description="peak learning rate of muon")
    muon_momentum: float = Field(0.95, ge=0, le=0.9999, allow_inf_nan=False, description="momentum of muon")
    schedule: Literal["constant", "cosine"] = Field(
        "constant", description="learning rate over the steps (or the minutes, whichever is further along)"
    )
    final_rate_fraction: Probability = Field(
        0.01, description="final learning rate of the cosine, as a fraction of the peak"
    )
    warmup_steps: int = Field(0, ge=0, le=10**9, description="steps of linear warmup")
    warmup_fraction: Probability = Field(0.0, description="linear warmup as a fraction of training (steps or minutes)")
    clip_norm: float = Field(5.0, ge=1e-6, le=10**9, allow_inf_nan=False, description="maximum global gradient norm")
    # Evaluations, checkpoints, samples on the way.
    eval_interval: int = Field(
        500,
        ge=0,
        le=10**9,
        description="steps between evaluations on the validation text; 0: once per pass over the text",
    )
    eval_tokens: int = Field(
        2_000_000, ge=1, le=10**12, description="maximum number of validation tokens per evaluation"
    )
    checkpoint_interval: int = Field(500, ge=1, le=10**9, description="steps between checkpoints")
    patience: int = Field(
        20, ge=0, le=10**9, description="evaluations without improvement before training stops; 0: never stop"
    )
    spike_factor: float = Field(
        3.0,
        ge=1.01,
        le=10**9,
        allow_inf_nan=False,
        description="ratio of the loss to its running mean that counts as a spike",
    )
    preview_tokens: int = Field(200, ge=0, le=10_000, description="length of the sample shown after an evaluation")
    preview_prompt: str = Field("", max_length=10_000, description="prompt of the sample shown after an evaluation")
    # What computes, and from which seed.
    kernel: Literal["auto", "reference", "fused", "native"] = Field(
        "auto", description="implementation of the recurrence"
    )
    precision: Literal["auto", Precision] = Field(
        "auto", description="operands of matrix products in training; sums and weights are float32"
    )
    device: str = Field("auto", max_length=32, description="auto, cpu, cuda, cuda:N or mps")
    threads: int = Field(0, ge=0, le=1024, description="CPU threads; 0: PyTorch's default")
    seed: int = Field(1337, ge=0, le=MAX_SEED, description="seed of all random choices")


class SamplingSettings(Section):
    """How text is sampled from the model; `unrolled.sampling.processors` defines the order of operations."""

    max_tokens: int = Field(400, ge=0, le=1_000_000, description="maximum number of tokens to generate")
    min_tokens: int = Field(0, ge=0, le=1_000_000, description="tokens to generate before a stop counts")
    temperature: float = Field(
        0.8, ge=0, le=100, allow_inf_nan=False, description="divides the logits; 0: always the most likely token"
    )
    top_k: int = Field(0, ge=-1, le=10_000_000, description="keep the k most likely tokens; 0 or -1: off")
    top_p: Probability = Field(1.0, description="keep the smallest set of tokens with this probability mass; 1: off")
    min_p: Probability = Field(0.0, description="drop tokens below this fraction of the highest probability; 0: off")
    typical_p: float = Field(
        1.0,
        ge=0.001,
        le=1,
        allow_inf_nan=False,
        description="keep the most typical tokens with this probability mass; 1: off",
    )
    repetition_penalty: float = Field(
        1.0, ge=0.01, le=100, allow_inf_nan=False, description="divides a repeated token's positive logit; 1: off"
    )
    repetition_window: int = Field(
        200, ge=0, le=1_000_000, description="recent tokens of prompt and output that the penalty considers; 0: all"
    )
    presence_penalty: Penalty = Field(0.0, description="subtracted from the logit of a token that has been generated")
    frequency_penalty: Penalty = Field(
        0.0, description="subtracted from a token's logit for each time it has been generated"
    )
    stop: tuple[Annotated[str, Field(min_length=1, max_length=1000)], ...] = Field(
        (), max_length=64, description="texts that end the output; not part of it"
    )
    unknown_token: Literal["banned", "allowed"] = Field(
        "banned", description="whether the token for unknown words or characters may be generated"
    )
    n: int = Field(1, ge=1, le=1024, description="number of samples; sample j uses seed + j")
    seed: int | None = Field(
        None, ge=-(2**63), le=MAX_SEED, description="random seed; none: one is chosen and reported"
    )

    @model_validator(mode="before")
    @classmethod
    def _wrap_single_stop(cls, values: Any) -> Any:
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
