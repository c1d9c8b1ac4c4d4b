"""`unrolled serve`: the web page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from unrolled.cli.decoding import decoding_option


@click.command("serve", short_help="Serve one or more models: web page and HTTP API.")
@click.argument("runs", nargs=-1, metavar="[RUN...]")
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to listen on; the default is this machine only."
)
@click.option("--port", type=int, default=5000, show_default=True, help="Port; 0 takes any free one.")
@click.option("--prefix", default="", metavar="PATH", help="Path that a proxy does not strip from requests.")
@click.option("--behind-proxy", is_flag=True, help="Trust the X-Forwarded headers of one proxy.")
@click.option("--allow-host", multiple=True, metavar="NAME", help="Also accept this host name; may be repeated.")
@click.option(
    "--history",
    type=click.Choice(["auto", "on", "off", "hidden"]),
    default="auto",
    show_default=True,
    help="Store prompts and samples; auto: if only this machine can reach the page; hidden: not shown.",
)
@click.option("--history-file", type=click.Path(path_type=Path), metavar="FILE", help="File to store them in.")
@click.option(
    "--keep-days",
    type=int,
    default=90,
    show_default=True,
    metavar="N",
    help="Days to keep them; 0: for ever.",
)
@click.option(
    "--models-at-start",
    type=int,
    default=8,
    show_default=True,
    metavar="N",
    help="With more models than this, load all but the first on first use.",
)
@decoding_option()
def command(runs: tuple[str, ...], host: str, port: int, **options: Any) -> None:
    """Serve the model in each RUN, or the bundled model, which is also called builtin:stories.

    Behind a proxy such as JupyterHub's, give the host name that visitors use: --allow-host hub.example.org. All links
    are relative, so a proxy that strips its path does not need --prefix.
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
