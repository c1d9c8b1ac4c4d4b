"""A trained model and what it can do: generate, score, evaluate, describe itself.

The same object serves Python, the command line and the web application. It holds no text, no hidden state and no random
generator, so any number of threads may use one at the same time.
"""

from __future__ import annotations

import dataclasses
import math
import weakref
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from unrolled.config import SamplingSettings, Settings, sampling_settings
from unrolled.data import TokenSequence, encode_split, encode_text
from unrolled.decoding import Decoder, decoder_of, explain_decoder, precision_for
from unrolled.errors import UserError
from unrolled.evaluation import Likelihood, evaluate, surprisals_nats
from unrolled.importers import holds_only_foreign_files, temporary_run
from unrolled.nn import LanguageModel, choose_device
from unrolled.runs import RunConfig, RunFolder, check_metrics, read_weights
from unrolled.sampling import Delta, Generation, generate, stream
from unrolled.shipped import shipped_model_folder
from unrolled.text import Tokenizer

SHIPPED = "builtin:stories"


@dataclass(frozen=True)
class Score:
    """The surprisal of each token of a text.

    Attributes:
        token_strings: the text of each token.
        nats: its surprisal, -log p(token | all before it), one for each token.
        likelihood: the text as a whole; its `total_nats` is exactly the sum of `nats`.
    """

    token_strings: tuple[str, ...]
    nats: tuple[float, ...]
    likelihood: Likelihood


class TrainedModel:
    """A run's best weights, ready for use; made by `load`.

    Attributes:
        name: the run's name.
        folder: its directory.
        tokenizer: text to tokens and back.
        device: where `score` and `evaluate` compute.
        device_reason: why.
        decoding: the precision of the weights that text is written with, float32 or bfloat16.
        writing_device: where text is written, always the CPU: so the same seed gives the same text everywhere.
        writing_device_reason: why.
    """

    decoding = "float32"
    _decoding_warnings: tuple[str, ...] = ()
    writing_device = "cpu"
    writing_device_reason = "the fastest for one token at a time"

    def __init__(self, folder: RunFolder, config: RunConfig, tokenizer: Tokenizer, device: str = "auto"):
        choice = choose_device(device)
        shapes = LanguageModel.shapes(config.settings.model, config.vocabulary_size)
        stored = read_weights(folder.weights, shapes, config.tokenizer_sha256)
        self.best, self._weights_bytes, self._weights_sha256 = stored.about, stored.size_bytes, stored.sha256
        self._run, self.config, self.tokenizer = folder, config, tokenizer
        self.name, self.folder = folder.name, folder.path
        self.device, self.device_reason = str(choice.device), choice.reason
        with torch.device("meta"):  # no first weights are drawn, only to be replaced
            self.network = LanguageModel(
                config.settings.model, config.vocabulary_size, regularization=config.settings.regularization
            )
        self.network.load_state_dict(stored.tensors, assign=True)
        self.network.to(choice.device)

    @property
    def settings(self) -> Settings:
        """All settings that the model was trained with."""
        return self.config.settings

    @property
    def warnings(self) -> tuple[str, ...]:
        """What every user of the model should know, e.g. that its vocabulary is a placeholder."""
        return (*self.config.warnings, *self._decoding_warnings)

    @cached_property
    def decoder(self) -> Decoder:
        """The model as it is used to write, one token at a time."""
        return decoder_of(self.network, self.decoding)

    def generate(self, prompt: str = "", **settings: Any) -> Generation:
        """Continue a prompt.

        Args:
            prompt: any text; characters or words that the model does not know are reported in the result.
            settings: decoding settings over the run's own, e.g. `temperature=0.7, top_k=40, seed=7, n=3`; see
                `SamplingSettings`.

        Raises:
            UserError: a setting is unknown or out of range; all problems are in one message.
        """
        return generate(self.decoder, self.tokenizer, prompt, self.sampling(settings))

    def stream(self, prompt: str = "", **settings: Any) -> Iterator[Delta]:
        """Continue a prompt, delta by delta; settings are checked before the first delta is requested."""
        return stream(self.decoder, self.tokenizer, prompt, self.sampling(settings))

    def score(self, text: str) -> Score:
        """Return the surprisal of every token of a text.

        Raises:
            UserError: the text is empty, or gives no token.
        """
        of_records = self.settings.data.split == "records"
        ids = self.tokenizer.encode_lines(text) if of_records else self.tokenizer.encode(text)
        if len(ids) == 0:
            raise UserError(f"There is no text to score; give at least one {self.tokenizer.kind}.")
        unknown = int((ids == self.tokenizer.unknown_id).sum()) if self.tokenizer.unknown_id is not None else 0
        size = len(text.encode("utf-8", "surrogatepass"))
        return self.score_tokens(TokenSequence(ids, len(text), size, unknown))

    def score_tokens(self, text: TokenSequence) -> Score:
        """Return the surprisal of every token of an encoded text."""
        nats = np.concatenate(list(surprisals_nats(self.network, text.ids, self.tokenizer.start_id))).tolist()
        likelihood = Likelihood(math.fsum(nats), text.tokens, text.characters, text.utf8_bytes, text.unknown_tokens)
        return Score(tuple(self.tokenizer.pieces(text.ids)), tuple(nats), likelihood)

    def encode(
        self,
        sources: str | Path | Sequence[str | Path],
        encoding_errors: str = "strict",
        split: str | None = None,
        stdin: BinaryIO | None = None,
    ) -> TokenSequence:
        """Read a text as the training did, as records or as one text, and encode it on disk.

        Args:
            sources: files, directories, `file.csv:column` or `file.jsonl:field`; `-` for standard input.
            encoding_errors: `strict`, or `replace` for bytes that are not UTF-8.
            split: `train`, `valid` or `test` for the part that the run's own rule makes of the text; none: all of it.
            stdin: what `-` reads.

        Raises:
            UserError: a file is missing, empty or no text, or it has no such part.
        """
        specs = [str(spec) for spec in ([sources] if isinstance(sources, (str, Path)) else sources)]
        data = self.settings.data.model_copy(update={"encoding_errors": encoding_errors})
        if split is None:
            return encode_text(self.tokenizer, specs, encoding_errors, settings=data, stdin=stdin)
        text = encode_split(self.tokenizer, specs, data, split, stdin=stdin)
        return dataclasses.replace(text, notes=(*self._doubts(text, split), *text.notes))

    def _doubts(self, text: TokenSequence, split: str) -> list[str]:
        """Return a note where a part of a text cannot be the run's own.

        Raises:
            UserError: it is the run's text, but the run was not trained on this part of it.
        """
        corpus = self.config.corpus
        if corpus.get("content_sha256") != text.content_sha256:
            return ["This is not the text that the run was trained on; the run's rule for splitting is applied to it."]
        if corpus.get(f"{split}_characters") != text.characters:
            raise UserError(
                "The run was trained on all of this text, because another text validated it (--valid); leave "
                "--split out."
            )
        return []

    def evaluate(
        self,
        sources: str | Path | Sequence[str | Path] | TokenSequence,
        encoding_errors: str = "strict",
        split: str | None = None,
    ) -> Likelihood:
        """Measure the model on whole files, in one pass with carried state.

        Args:
            sources: files, directories, `file.csv:column` or `file.jsonl:field`, or a text that is encoded already.
            encoding_errors: `strict`, or `replace` for bytes that are not UTF-8.
            split: a part of the text, see `encode`.

        Raises:
            UserError: a file is missing, empty or no text, or it has no such part.
        """
        text = sources if isinstance(sources, TokenSequence) else self.encode(sources, encoding_errors, split)
        return evaluate(
            self.network, text.ids, self.tokenizer.start_id, text.characters, text.utf8_bytes, text.unknown_tokens
        )

    def sampling(self, settings: dict[str, Any]) -> SamplingSettings:
        """Return the run's decoding settings with `settings` over them.

        Raises:
            UserError: one is unknown or out of range.
        """
        return sampling_settings(settings, self.settings.sampling)

    def info(self) -> dict[str, Any]:
        """Return what the model is, how it was made and how well it did, as JSON-ready values."""
        metrics = check_metrics(self._run.metrics)
        entry = next((e for e in reversed(metrics.entries) if e["step"] == self.best.step), {})
        model = self.settings.model
        return {
            "name": self.name,
            "tokenizer": self.tokenizer.kind,
            "vocabulary_size": self.config.vocabulary_size,
            "parameters": self.network.parameter_count(),
            "embedding_size": model.embedding_size,
            "hidden_size": model.hidden_size,
            "layers": model.layers,
            "dropout": self.settings.regularization.dropout,
            "preset": self.config.preset,
            "best_step": self.best.step,
            "steps": max((e["step"] for e in metrics.entries), default=self.best.step),
            "valid_loss_nats": self.best.valid_loss_nats,
            "valid_perplexity": entry.get("valid_perplexity"),
            "valid_bits_per_char": entry.get("valid_bits_per_char"),
            "train_loss_nats": entry.get("train_loss_nats"),
            "seconds": entry.get("seconds"),
            "corpus": self.config.corpus,
            "decoding": self.decoding,
            "decoder": explain_decoder(self.network),
            "weights_bytes": self._weights_bytes,
            "weights_sha256": self._weights_sha256,
            "tokenizer_sha256": self.config.tokenizer_sha256,
            "fine_tuned_from": self.config.fine_tuned_from,
            "seed": self.settings.training.seed,
            "created": self.config.created,
            "made_with": self.config.made_with,
            "imported_from": self.config.imported_from,
            "warnings": list(self.warnings),
            "notes": metrics.notes,
        }


def load(run: str | Path = SHIPPED, device: str = "auto", decoding: str = "float32") -> TrainedModel:
    """Open a run for use.

    Args:
        run: a run directory, or `builtin:stories` for the model that comes with the package, or a folder that holds
            only a checkpoint from elsewhere (see `unrolled.importers`).
        device: auto, cpu, cuda, cuda:N or mps, for scoring and evaluating.
        decoding: float32, or bfloat16 to generate faster with rounded weights; a seed then gives another text.
            Without the native kernel it is float32 in any case, with a warning.

    Raises:
        ValueError: an unknown precision for decoding.
        UserError: there is no run, or one of its files is missing, damaged or from another run.
    """
    path = shipped_model_folder() if str(run) == SHIPPED else Path(run)
    model = _load_foreign(path, device) if holds_only_foreign_files(path) else _load_run(RunFolder(path), device)
    model.decoding, model._decoding_warnings = precision_for(model.network, decoding)
    return model


def _load_run(folder: RunFolder, device: str) -> TrainedModel:
    config = folder.read_config()
    return TrainedModel(folder, config, folder.read_tokenizer(config), device)


def _load_foreign(folder: Path, device: str) -> TrainedModel:
    """Import the checkpoint in a folder into a temporary run, which lasts as long as the model."""
    with ExitStack() as stack:
        model = _load_run(stack.enter_context(temporary_run(folder)), device)
        weakref.finalize(model, stack.pop_all().close)
    return model
