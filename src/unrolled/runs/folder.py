"""A run directory: where its files are, how one is created, and how one is opened without trusting it.

Nothing in a run is executed. Sizes are checked before anything is allocated, and a hash ties the weights to the
tokenizer.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from unrolled.atomic_write import remove_leftovers
from unrolled.config import Settings, settings_from_values
from unrolled.errors import UserError
from unrolled.files import read_regular
from unrolled.runs.atomic import write_atomically
from unrolled.runs.formats import FORMAT_VERSION, upgraded
from unrolled.strict_json import JsonProblem, is_unicode, lenient_number, parse_json
from unrolled.text import Tokenizer, load_tokenizer

KIND = "unrolled-run"
MAX_CONFIG_BYTES = 1_000_000
OPTIONAL = {
    "corpus": dict,
    "made_with": dict,
    "created": str,
    "command": str,
    "imported_from": dict,
    "warnings": list,
}
OUR_FILES = (
    "config.json",
    "tokenizer.json",
    "vocab.json",
    "model.safetensors",
    "metrics.jsonl",
    "loss.png",
    "README.md",
)


@dataclass(frozen=True)
class RunConfig:
    """What `config.json` holds."""

    settings: Settings
    vocabulary_size: int
    tokenizer_sha256: str
    preset: str | None = None
    corpus: dict[str, Any] = field(default_factory=dict)
    made_with: dict[str, str] = field(default_factory=dict)
    created: str = ""
    command: str = ""
    fine_tuned_from: str | None = None
    imported_from: dict[str, str] = field(default_factory=dict)  # the checkpoint from elsewhere, if it was one
    warnings: list[str] = field(default_factory=list)  # what everyone who uses the model should know

    def to_json(self) -> dict[str, Any]:
        """Return the content of `config.json`."""
        rest = {key: value for key, value in asdict(self).items() if key != "settings"}
        return {"kind": KIND, "format_version": FORMAT_VERSION, **rest, **self.settings.model_dump(mode="json")}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> RunConfig:
        """Validate the content of a `config.json`.

        Raises:
            UserError: it is of a foreign kind, a newer format, or holds impossible values.
        """
        if values.get("kind") != KIND:
            raise UserError("config.json is not that of an unrolled run.")
        values = upgraded(values)
        settings = settings_from_values({name: values[name] for name in Settings.model_fields if name in values})
        problems = [
            f"{key} is missing or of a wrong type in config.json"
            for key, kind in (("vocabulary_size", int), ("tokenizer_sha256", str))
            if type(values.get(key)) is not kind
        ]
        problems += _corpus_problems(values.get("corpus")) + _text_problems(values)
        if problems:
            raise UserError("; ".join(problems) + ".")
        optional = {key: values[key] for key, kind in OPTIONAL.items() if isinstance(values.get(key), kind)}
        names = {key: values[key] for key in ("preset", "fine_tuned_from") if isinstance(values.get(key), str)}
        return cls(settings, values["vocabulary_size"], values["tokenizer_sha256"], **optional, **names)


def _text_problems(values: dict[str, Any]) -> list[str]:
    """Return what is wrong with the sentences and names that are shown as they are."""
    kinds = {"warnings": list, "imported_from": dict, "made_with": dict}
    found = {key: (values.get(key, kind()), kind) for key, kind in kinds.items()}
    return [
        f"{key} is of a wrong type in config.json"
        for key, (value, kind) in found.items()
        if not isinstance(value, kind) or not _are_texts(value.values() if kind is dict else value)
    ]


def _are_texts(entries: Iterable[Any]) -> bool:
    return all(isinstance(entry, str) for entry in entries)


def _corpus_problems(corpus: Any) -> list[str]:
    """Return what is wrong with the description of the text, which the model card prints."""
    if not isinstance(corpus, dict):
        return []
    kinds = {key: str if key == "content_sha256" else list if key == "names" else int for key in corpus}
    return [
        f"corpus.{key} is of a wrong type in config.json"
        for key, kind in kinds.items()
        if type(corpus[key]) is not kind or (kind is list and not _are_texts(corpus[key]))
    ]


class RunFolder:
    """Paths and files of one run."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.config = self.path / "config.json"
        self.weights = self.path / "model.safetensors"
        self.metrics = self.path / "metrics.jsonl"
        self.picture = self.path / "loss.png"
        self.card = self.path / "README.md"
        self.checkpoint = self.path / "checkpoints" / "last.safetensors"

    @property
    def name(self) -> str:
        """The run's name: that of its directory."""
        return self.path.resolve().name

    def make(self) -> None:
        """Make the directory if it does not exist.

        Raises:
            UserError: it cannot be made.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unwritable(error) from error

    def begin(self, config: RunConfig, tokenizer: Tokenizer, force: bool = False) -> None:
        """Write the files that do not change while training.

        Raises:
            UserError: a run exists there and `force` is not set, or the directory holds something else.
        """
        self.refuse_to_overwrite(force)
        try:
            self._remove_old_run()
            self.make()
            self.write_config(config)  # first: from now on this is a run, which --force may replace
            self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
            tokenizer.save(self.path)
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> UserError:
        return UserError(f"{self.path} cannot be written ({error.strerror}); choose another folder with --out.")

    def refuse_to_overwrite(self, force: bool) -> None:
        """Raise a `UserError` if a run cannot be created: one exists and `force` is not set, or other files do."""
        if not self.path.exists():
            return
        if not self.path.is_dir():
            raise UserError(f"{self.path} is a file; choose another folder with --out.")
        if not any(self.path.iterdir()):
            return
        if not self._holds_run():
            raise UserError(f"{self.path} is not empty and holds no run of unrolled; choose another folder with --out.")
        if not force:
            raise UserError(
                f"{self.path} already holds a run; continue it: --resume {self.path}, or replace it: --force, or "
                "choose another folder with --out."
            )

    def write_config(self, config: RunConfig) -> None:
        """Write `config.json`."""
        write_atomically(self.config, (json.dumps(config.to_json(), indent=2, ensure_ascii=False) + "\n").encode())

    def read_config(self) -> RunConfig:
        """Read and validate `config.json`.

        Raises:
            UserError: there is no run here, or its configuration is damaged or foreign.
        """
        self._check_exists()
        values = self._config_values()
        try:
            return RunConfig.from_json(values)
        except UserError as error:
            raise UserError(f"{self.config}: {error}") from error

    def read_tokenizer(self, config: RunConfig) -> Tokenizer:
        """Read the tokenizer and check that it is the one that the weights were trained with.

        Raises:
            UserError: it is missing, damaged, or from another run.
        """
        tokenizer = load_tokenizer(self.path)
        if tokenizer.fingerprint != config.tokenizer_sha256 or tokenizer.vocabulary_size != config.vocabulary_size:
            raise UserError(
                f"The tokenizer in {self.path} is not the one that this model was trained with; put back the run's own "
                "tokenizer.json and vocab.json."
            )
        return tokenizer

    def remove_leftovers(self) -> None:
        """Remove what a killed process may have left half written."""
        for folder in (self.path, self.checkpoint.parent):
            remove_leftovers(folder)

    def _config_values(self) -> dict[str, Any]:
        try:
            # numbers that are not finite are left to the validation, which names the setting
            values = parse_json(read_regular(self.config, MAX_CONFIG_BYTES), number_hook=lenient_number)
        except FileNotFoundError:
            raise UserError(f"{self.config} has just been removed; put it back.") from None
        except JsonProblem as problem:
            raise UserError(f"{self.config} is damaged: it {problem}; restore it or train again.") from None
        if not isinstance(values, dict):
            raise UserError(f"{self.config} is not the configuration of a run.")
        if not is_unicode(json.dumps(values, ensure_ascii=False)):
            raise UserError(f"{self.config} is damaged: it holds half of a surrogate pair; restore it or train again.")
        return values

    def _holds_run(self) -> bool:
        """Tell whether the directory is a run of ours: `config.json` is a common name."""
        try:
            return self.config.is_file() and self._config_values().get("kind") == KIND
        except UserError:
            return False

    def _check_exists(self) -> None:
        if not self.path.exists():
            raise UserError(f"There is no run at {self.path}{self._neighbours()}.")
        if not self.path.is_dir():
            raise UserError(
                f"{self.path} is a file; a run is a directory, as `unrolled train --out` makes it, and `unrolled "
                "import` of a checkpoint from elsewhere."
            )
        if not self.config.exists() or self.config.is_dir():
            hint = f"; make one of its checkpoint: unrolled import {self.path} --out RUN"
            foreign = any(self.path.glob("*.pt")) and not self.weights.exists()
            raise UserError(
                f"{self.path} holds no run: config.json is missing{hint if foreign else self._neighbours()}."
            )

    def _neighbours(self) -> str:
        """Name the runs that exist next to this path or inside it."""
        found = []
        for folder in (self.path, self.path.parent):
            if folder.is_dir():
                found += [str(entry.parent) for entry in sorted(folder.glob("*/config.json"))[:5]]
        return f"; runs near it: {', '.join(dict.fromkeys(found))}" if found else ""

    def _remove_old_run(self) -> None:
        """Remove the files that a run consists of, and nothing else."""
        self.remove_leftovers()
        for name in OUR_FILES:
            (self.path / name).unlink(missing_ok=True)
        self.checkpoint.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # it is not there, or holds files of others
            self.checkpoint.parent.rmdir()  # an empty folder is one in which a run can begin
