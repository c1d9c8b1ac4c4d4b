"""`unrolled serve`: the web page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from unrolled.cli.decoding import decoding_option


@click.command("serve", short_help="Open the web page of one or more models.")
@click.argument("runs", nargs=-1, metavar="[RUN...]")
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to listen on; the default is this machine only."
)
@click.option("--port", type=int, default=5000, show_default=True, help="Port; 0 takes any free one.")
@click.option("--prefix", default="", metavar="PATH", help="Path that a proxy leaves on when it passes requests on.")
@click.option("--behind-proxy", is_flag=True, help="Trust the X-Forwarded headers of one proxy in front of the page.")
@click.option("--allow-host", multiple=True, metavar="NAME", help="Answer to this host name, too; may be repeated.")
@click.option(
    "--history",
    type=click.Choice(["auto", "on", "off", "hidden"]),
    default="auto",
    show_default=True,
    help="Keep prompts and texts: auto where only this machine can reach the page; hidden without a page to read them.",
)
@click.option("--history-file", type=click.Path(path_type=Path), metavar="FILE", help="File to keep them in.")
@click.option(
    "--keep-days", type=int, default=90, show_default=True, metavar="N", help="Days to keep them; 0: for ever."
)
@click.option(
    "--models-at-start",
    type=int,
    default=8,
    show_default=True,
    metavar="N",
    help="With more models than this, load all but the first when they are first asked for.",
)
@decoding_option()
def command(runs: tuple[str, ...], host: str, port: int, **options: Any) -> None:
    """Serve the models in RUN, or the one that comes with unrolled. builtin:stories names that one too.

    Behind a proxy such as JupyterHub's, name the host that visitors see: --allow-host hub.example.org. All links are
    relative, so a proxy that takes its path off needs no --prefix.
    """
    from unrolled.cli.printing import remark
    from unrolled.web import serve_models, settings_from_options

    serve_models(
        runs,
        host,
        port,
        settings=settings_from_options(**options),
        on_ready=lambda url: remark(f"Open {url} in a browser; Ctrl-C stops."),
        on_note=remark,
        on_warning=lambda text: remark(f"Warning: {text}"),
    )
