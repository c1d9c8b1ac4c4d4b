"""torch.nn.LSTM as its user gets it by default: a process that takes turns with the ways of this one.

By default glibc returns large buffers to the system as soon as they are freed, and every training step asks for them
again; a benchmark in a process that keeps them (`keep_freed_memory`) does not show what that costs. The setting holds
for a whole process, hence the second one, which starts without the variables that would change it.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess  # nosec B404 # commands are lists, without a shell
import sys
import tempfile
from dataclasses import asdict
from typing import Any

import torch

from unrolled.errors import UserError

SETTINGS_OF_GLIBC = ("MALLOC_", "GLIBC_TUNABLES")  # how the names of its environment variables begin


class TorchByDefault:
    """The process, as a context: it ends with the block.

    Attributes:
        first_loss_nats: the loss of batch 0 before any step, to be compared with that of the other ways.
    """

    def __init__(self, shape: Any) -> None:
        """Start it for a shape (a `Shape`), with as many threads as this process has.

        Raises:
            UserError: it ended before it was ready.
        """
        environment = {name: value for name, value in os.environ.items() if not name.startswith(SETTINGS_OF_GLIBC)}
        arguments = json.dumps(asdict(shape)), str(torch.get_num_threads())
        self._open = contextlib.ExitStack()
        self._errors = self._open.enter_context(tempfile.TemporaryFile("w+"))  # noqa: SIM115
        self._process = subprocess.Popen(  # nosec B603 # a list of arguments of our own, without a shell
            [sys.executable, "-m", "unrolled.bench.torch_process", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment,
            text=True,
            start_new_session=True,  # Ctrl-C is ours; with us its input ends, and with that the process
        )
        self._open.callback(self._end)
        try:
            self.first_loss_nats = self._answer()
        except BaseException:
            self._open.close()
            raise

    def step(self, number: int) -> float:
        """Let it make a step on the batch of a round; return the loss.

        Raises:
            UserError: it has ended.
        """
        with contextlib.suppress(BrokenPipeError):  # it has ended, and gives no answer
            self._process.stdin.write(f"{number}\n")
            self._process.stdin.flush()
        return self._answer()

    def __enter__(self) -> TorchByDefault:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()
        with contextlib.suppress(BrokenPipeError):  # what was still to be written has no reader
            self._process.stdin.close()

    def _answer(self) -> float:
        line = self._process.stdout.readline()
        if line.endswith("\n"):
            return float(line)
        status = self._process.wait()
        self._errors.seek(0)
        last = (self._errors.read().strip().splitlines() or ["it printed nothing"])[-1]
        raise UserError(
            f"The process that times torch.nn.LSTM by default ended with status {status} ({last}); close other "
            "programs and measure again."
        )
