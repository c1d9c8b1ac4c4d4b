"""`unrolled generate`: continue a prompt and show the text while it is generated."""

from __future__ import annotations

import sys
from typing import Any

import click

from unrolled.cli.decoding import decoding_option
from unrolled.cli.sampling_options import sampling_options
from unrolled.errors import UserError


class CommandWithPrompt(click.Command):
    """A command whose argument is free text; if it begins with a dash, it looks like an option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            hint = "Put -- before a prompt that begins with a dash."
            raise click.UsageError(f"{error.format_message()} {hint}", ctx) from None


@click.command("generate", cls=CommandWithPrompt, short_help="Continue a prompt.")
@click.argument("run")
@click.argument("prompt", default="")
@sampling_options()
@decoding_option()
@click.option("--raw", is_flag=True, help="Print control characters as they are.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(run: str, prompt: str, decoding: str, raw: bool, as_json: bool, **settings: Any) -> None:
    """Continue PROMPT with the model in RUN; - reads the prompt from standard input."""
    from unrolled.cli.opening import open_model
    from unrolled.cli.printing import print_json, remark
    from unrolled.sampling import resolve_seed

    given = {name: value for name, value in settings.items() if value is not None and value != ()}
    model = open_model(run, decoding=decoding)
    sampling = model.sampling(given)
    given["seed"] = resolve_seed(sampling.seed)
    prompt = _standard_input() if prompt == "-" else prompt
    unknown = model.tokenizer.unknown_in(prompt)
    if unknown:
        shown = ", ".join(repr(character) for character in unknown[:20])
        remark(f"Note: the model does not know {shown}{' and more' if len(unknown) > 20 else ''}; read as unknown.")
    if as_json:
        print_json(_as_json(model.generate(prompt, **given)))
        return
    if sampling.n == 1:
        _print_stream(model, prompt, given, raw)
    else:
        _print_samples(model.generate(prompt, **given), raw)
    remark(f"seed {given['seed']}")


def _standard_input() -> str:
    try:
        return sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"The prompt on standard input is not UTF-8 at byte {error.start}; convert it first.") from None


def _as_json(generation: Any) -> dict[str, Any]:
    return {
        "seed": generation.seed,
        "samples": [
            {"text": sample.text, "finish_reason": sample.finish_reason, "tokens": sample.tokens, "seed": sample.seed}
            for sample in generation.samples
        ],
        "prompt": generation.prompt,
        "unknown": list(generation.unknown),
    }


def _print_stream(model: Any, prompt: str, settings: dict[str, Any], raw: bool) -> None:
    _write(prompt, raw)
    for delta in model.stream(prompt, **settings):
        _write(delta.text, raw)
    _write("\n", raw)


def _print_samples(generation: Any, raw: bool) -> None:
    for number, sample in enumerate(generation.samples, start=1):
        _write(f"--- {number} (seed {sample.seed})\n{generation.prompt}{sample.text}\n", raw)


def _write(text: str, raw: bool) -> None:
    from unrolled.cli.printing import printable

    sys.stdout.write(text if raw else printable(text))
    sys.stdout.flush()
