"""Makes training steps with torch.nn.LSTM in a process of its own, where nothing was told to the C library.

    python -m unrolled.bench.torch_process SHAPE THREADS

SHAPE is a `Shape` as a JSON object. It prints the loss of batch 0 before training; then, for each number of a round
that it reads, it makes a step on that round's batch and prints its loss. It ends with its input.
"""

from __future__ import annotations

import json
import sys

import torch

from unrolled.bench.rivals import torch_model
from unrolled.bench.training import Shape, batch, our_model, rivals_loss, training_step
from unrolled.kernels import ReferenceKernel


def main() -> None:
    """Answer each line with a line."""
    shape = Shape(**json.loads(sys.argv[1]))
    torch.set_num_threads(int(sys.argv[2]))
    model = torch_model(our_model(shape, ReferenceKernel()))  # the weights that all ways start from
    loss_nats = rivals_loss(model)
    with torch.no_grad():
        _answer(loss_nats(*batch(shape, 0)).item())
    step = training_step(model, loss_nats, shape)
    for line in sys.stdin:
        _answer(step(int(line)))


def _answer(number: float) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
