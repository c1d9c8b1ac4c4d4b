"""`unrolled data`: example texts."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from unrolled.errors import UserError
from unrolled.shipped import BUNDLED_STORIES


@click.group("data", short_help="List and fetch example texts.")
def command() -> None:
    """List and fetch example texts."""


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def list_texts(as_json: bool) -> None:
    """List the built-in text and those that can be fetched."""
    from unrolled.cli.printing import print_json, print_rows
    from unrolled.data.downloads import EXAMPLES

    texts = {BUNDLED_STORIES: "34 original children's stories, included in unrolled; nothing to fetch"}
    texts.update({example.name: example.about for example in EXAMPLES})
    if as_json:
        print_json({"texts": [{"name": name, "about": about} for name, about in texts.items()]})
    else:
        print_rows(list(texts.items()))


@command.command("get")
@click.argument("name")
@click.option("--out", default="data", show_default=True, metavar="FOLDER", help="Folder to save the text in.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def get(name: str, out: str, as_json: bool) -> None:
    """Fetch the text called NAME."""
    from unrolled.cli.printing import print_json, remark
    from unrolled.config import unknown_name
    from unrolled.data.downloads import EXAMPLES, fetch

    example = next((entry for entry in EXAMPLES if entry.name == name), None)
    if name == BUNDLED_STORIES:
        raise UserError(f"{BUNDLED_STORIES} is there already; train on it with: unrolled train {BUNDLED_STORIES}")
    if example is None:
        raise UserError(unknown_name("text", name, [entry.name for entry in EXAMPLES]))
    path = fetch(example, Path(out))
    source = str(path.parent / example.source)
    if as_json:
        print_json({"name": name, "path": str(path), "source": source})
    else:
        print(path)
    remark(f"Train on it with: unrolled train {shlex.quote(source)}")
