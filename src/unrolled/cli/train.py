"""`unrolled train`: train a model on a text, with progress on standard error."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click

from unrolled.cli.stopping import Stopping
from unrolled.cli.typed import resume_command, start_over_command, typed_command
from unrolled.errors import UserError
from unrolled.shipped import BUNDLED_STORIES
from unrolled.strict_json import parse_json

MAX_CONFIG_BYTES = 1_000_000  # a thousand times the size of all settings


@click.command("train", short_help="Train a language model on a text.")
@click.argument("sources", nargs=-1, metavar="SOURCE...")
@click.option("--out", metavar="RUN", help="Directory to create.  [default: runs/<name of the text>]")
@click.option("--resume", metavar="RUN", help="Continue a run exactly where it stopped; needs no other arguments.")
@click.option("--preset", metavar="NAME", help="Named settings.  [default: stories-fast]")
@click.option("--config", metavar="FILE", help="TOML file with settings, which override the preset.")
@click.option(
    "--set", "overrides", multiple=True, metavar="NAME=VALUE", help="Set a setting, e.g. model.hidden_size=512."
)
@click.option("--minutes", type=float, metavar="M", help="Stop after M minutes.")
@click.option("--steps", type=int, metavar="N", help="Number of optimizer steps.")
@click.option("--valid", multiple=True, metavar="FILE", help="Validation text.  [default: the end of the text]")
@click.option("--device", metavar="NAME", help="auto, cpu, cuda, cuda:N or mps.")
@click.option("--kernel", metavar="NAME", help="Implementation of the recurrence: auto, reference, fused or native.")
@click.option("--seed", type=int, metavar="N", help="Seed of all random choices.")
@click.option("--init-from", metavar="RUN", help="Fine-tune: start from the weights and vocabulary of this run.")
@click.option(
    "--encoding-errors", type=click.Choice(["strict", "replace"]), help="How to handle bytes that are not UTF-8."
)
@click.option("--force", is_flag=True, help="Replace an existing run.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
@click.option("--list-settings", is_flag=True, help="List all settings and presets, and exit.")
def command(sources: tuple[str, ...], out: str | None, resume: str | None, as_json: bool, **options: Any) -> int:
    """Train a language model on a text.

    SOURCE is one or more files, a directory of .txt files, file.csv:column, file.jsonl:field, - for standard input, or
    builtin:stories (the default), the stories in the package.
    """
    if options["list_settings"]:
        return _list_settings(as_json)
    if resume is not None:
        return _resume(resume, sources, out, as_json, options)
    sources = sources or (BUNDLED_STORIES,)
    return _train(sources, out or _free_name(sources[0]), as_json, options)


def _train(sources: tuple[str, ...], out: str, as_json: bool, options: dict[str, Any]) -> int:
    with Stopping(resume_command(out), partial(start_over_command, out)) as stopping:
        from unrolled.cli.show import listener_for, print_finished
        from unrolled.training import train

        stopping.imported()
        with listener_for(options["quiet"]) as listener:
            finished = train(
                sources,
                out,
                preset=options["preset"],
                settings=_settings(options, listener),
                valid=options["valid"],
                init_from=options["init_from"],
                force=options["force"],
                listener=listener,
                command=typed_command(),
                stdin=sys.stdin.buffer,
                signals=stopping.while_training,
            )
        return print_finished(finished, as_json)


def _resume(run: str, sources: tuple[str, ...], out: str | None, as_json: bool, options: dict[str, Any]) -> int:
    single = ("preset", "config", "kernel", "seed", "init_from", "encoding_errors")
    given = [f"--{name.replace('_', '-')}" for name in single if options[name] is not None]
    given += ["--set"] * bool(options["overrides"]) + ["--out"] * (out is not None) + ["SOURCE"] * bool(sources)
    given += ["--valid"] * bool(options["valid"]) + ["--force"] * options["force"]
    if given:
        raise UserError(
            f"--resume continues a run with its own settings; leave out {', '.join(given)} (or use --init-from)."
        )
    with Stopping(resume_command(run)) as stopping:
        from unrolled.cli.show import listener_for, print_finished
        from unrolled.training import resume

        stopping.imported()
        with listener_for(options["quiet"]) as listener:
            finished = resume(
                run,
                steps=options["steps"],
                minutes=options["minutes"],
                device=options["device"],
                listener=listener,
                signals=stopping.while_training,
            )
        return print_finished(finished, as_json)


def _settings(options: dict[str, Any], listener: Callable[[Any], None]) -> dict[str, Any]:
    """Return the dotted settings of --config, --set and the options for single settings; later ones take precedence.

    Old names are replaced by current ones in each of them, so that `--set` overrides a file under either name, and
    reported to the listener.
    """
    from unrolled.config import by_current_names, note_on_moved
    from unrolled.training import Note

    in_file = {} if options["config"] is None else _from_file(Path(options["config"]))
    layers = [in_file, _from_overrides(options["overrides"]), _from_options(options)]
    settings = {name: value for layer in layers for name, value in by_current_names(layer).items()}
    if (note := note_on_moved(name for layer in layers for name in layer)) is not None:
        listener(Note(note))
    return settings


def _from_overrides(overrides: tuple[str, ...]) -> dict[str, str]:
    problems = [text for text in overrides if "=" not in text]
    if problems:
        raise UserError(f"--set takes NAME=VALUE, such as --set model.hidden_size=512, not {problems[0]!r}.")
    return dict(text.split("=", 1) for text in overrides)


def _from_options(options: dict[str, Any]) -> dict[str, Any]:
    names = (
        ("minutes", "training.minutes"),
        ("steps", "training.steps"),
        ("device", "training.device"),
        ("kernel", "training.kernel"),
        ("seed", "training.seed"),
        ("encoding_errors", "data.encoding_errors"),
    )
    return {setting: options[name] for name, setting in names if options[name] is not None}


def _from_file(path: Path) -> dict[str, Any]:
    from unrolled.config import tomllib

    try:
        with path.open("rb") as file:  # may be a pipe: --config <(command)
            content = file.read(MAX_CONFIG_BYTES + 1)
        if len(content) > MAX_CONFIG_BYTES:
            raise UserError(f"{path} is larger than {MAX_CONFIG_BYTES:,} bytes, too large for settings.")
        values = tomllib.loads(content.decode("utf-8"))
    except FileNotFoundError:
        raise UserError(f"There is no file {path}.") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as TOML: {error}.") from None
    except RecursionError:
        raise UserError(f"{path} cannot be read as TOML: it is nested too deeply.") from None
    return {
        f"{section}.{key}": value
        for section, entries in values.items()
        for key, value in (entries.items() if isinstance(entries, dict) else [("", entries)])
    }


def _free_name(source: str) -> str:
    """Return runs/<name of the text>, with a number if that exists."""
    path = source if Path(source).exists() else source.removeprefix("builtin:").partition(":")[0]
    stem = "text" if source == "-" else Path(os.path.abspath(path)).stem or "text"
    number, name = 1, Path("runs") / stem
    while name.exists():
        number += 1
        name = Path("runs") / f"{stem}-{number}"
    return str(name)


def _list_settings(as_json: bool) -> int:
    from unrolled.cli.printing import print_json, print_rows
    from unrolled.config import preset_names, setting_descriptions

    if as_json:
        settings = [
            {"name": name, "default": parse_json(default), "description": text}
            for name, default, text in setting_descriptions()
        ]
        print_json({"presets": preset_names(), "settings": settings})
        return 0
    print(f"Presets: {', '.join(preset_names())}\n\nSettings, with the default of each:\n")
    print_rows([(f"{name} = {default}", text) for name, default, text in setting_descriptions()])
    return 0
