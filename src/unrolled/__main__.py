"""`python -m unrolled` is `unrolled`, and this is where both begin."""

from __future__ import annotations

import os
import signal


def main() -> None:
    """Run the command line; Ctrl-C while it is imported ends the process without a traceback."""
    before = signal.signal(signal.SIGINT, _end)
    from unrolled.cli.main import main as command_line

    signal.signal(signal.SIGINT, before)
    command_line()


def _end(number: int, frame: object) -> None:
    os.write(2, b"Stopped.\n")
    os._exit(130)


if __name__ == "__main__":
    main()
