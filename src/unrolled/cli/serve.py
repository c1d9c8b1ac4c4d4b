"""`unrolled serve`: the web page."""

from __future__ import annotations

import click


@click.command("serve", short_help="Open the web page of one or more models.")
@click.argument("runs", nargs=-1, metavar="[RUN...]")
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to listen on; the default is this machine only."
)
@click.option("--port", type=int, default=5000, show_default=True, help="Port; 0 takes any free one.")
def command(runs: tuple[str, ...], host: str, port: int) -> None:
    """Serve the models in RUN, or the one that comes with unrolled. builtin:stories names that one too."""
    from unrolled.cli.printing import remark
    from unrolled.web import serve_models

    serve_models(
        runs,
        host,
        port,
        on_ready=lambda url: remark(f"Open {url} in a browser; Ctrl-C stops."),
        on_warning=lambda text: remark(f"Warning: {text}"),
    )
