"""`unrolled`: the group of commands, and the only place where errors become messages and exit statuses.

Results go to standard output, everything else to standard error. Exit statuses: 0 success, 2 an error that the user can
fix, 130 stopped by Ctrl-C. The module of a command is imported only when the command runs, so that `unrolled --help` is
fast.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import os
import signal
import sys
from typing import NoReturn

import click

from unrolled.cli.stopping import STOPPED
from unrolled.errors import UserError
from unrolled.version import __version__

NO_ARGUMENTS = getattr(click.exceptions, "NoArgsIsHelpError", ())  # click 8.2 and later raise the help as an exception
COMMANDS = {
    "train": "Train a language model on a text.",
    "evaluate": "Measure a model on a text: perplexity, bits per character.",
    "score": "Show how surprising each token of a text is.",
    "generate": "Continue a prompt.",
    "serve": "Open the web page of one or more models.",
    "import": "Turn a PyTorch checkpoint into a run.",
    "export": "Write a model for another tool.",
    "info": "Describe a model and how it was trained.",
    "data": "List and fetch example texts.",
    "bench": "Measure speed on this machine against the baselines.",
}
MODULES = {"import": "import_checkpoint"}  # `import` cannot be the name of a module


class OutputClosed(Exception):
    """Standard output was closed by its reader, for example by `| head`."""


class LazyGroup(click.Group):
    """A group that knows the names and short helps of its commands and imports a command only to run it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        return importlib.import_module(f"unrolled.cli.{MODULES.get(name, name)}").command

    def resolve_command(self, ctx: click.Context, args: list[str]):
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(COMMANDS)}."
            raise click.UsageError(f"There is no command '{args[0]}'; {hint}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context):
        try:
            status = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:  # click would report a failure
            raise OutputClosed from None
        return status

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="unrolled")
def cli() -> None:
    """Turn any text into a recurrent language model and use it.

    The LSTM is written from its equations. First steps:

    \b
      unrolled train my-text.txt --out runs/mine --minutes 10
      unrolled generate runs/mine "Once upon a time"
      unrolled serve runs/mine
    """


def main() -> None:
    """Run the command line and end the process."""
    try:
        run()
    except SystemExit as end:
        _ignore_ctrl_c()
        if end.code == STOPPED:
            _end_at_once()
        raise
    finally:
        _ignore_ctrl_c()


def _ignore_ctrl_c() -> None:
    """Keep Ctrl-C from interrupting the end of the process, which would print a traceback."""
    with contextlib.suppress(ValueError):  # only the main thread may set signal handlers
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _end_at_once() -> NoReturn:
    """End a stopped process without PyTorch's teardown, which takes as long as the rest of stopping."""
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # the reader is gone
            stream.flush()
    os._exit(STOPPED)


def run() -> None:
    """Run the command line.

    Raises:
        SystemExit: always, with the exit status.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # characters that the terminal cannot show are not errors
    try:
        status = cli.main(prog_name="unrolled", standalone_mode=False)
    except UserError as error:
        _fail(str(error))
    except NO_ARGUMENTS as error:
        print(error.format_message(), file=sys.stderr)
        sys.exit(2)
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        usage = f" See '{context.command_path} --help'." if context is not None else ""
        _fail(error.format_message() + usage)
    except (KeyboardInterrupt, click.Abort):
        _ignore_ctrl_c()
        print("Stopped.", file=sys.stderr)
        sys.exit(STOPPED)
    except OutputClosed:
        # standard output must not be flushed again at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "memory" not in str(error):
            raise  # a bug, whose traceback is needed
        _fail("There is not enough memory for this; lower model.hidden_size, training.batch_size or training.window.")
    except OSError as error:
        _fail(
            f"{error.filename or 'A file'} cannot be used ({error.strerror or error}); check the path, its permissions "
            "and the space on the disk."
        )
    sys.exit(status if isinstance(status, int) else 0)


def _fail(sentence: str) -> None:
    from unrolled.cli.printing import printable

    print(f"Error: {printable(sentence)}", file=sys.stderr)
    sys.exit(2)
