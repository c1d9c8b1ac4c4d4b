"""The validation loss while training: the text in parallel segments, so that an evaluation takes a moment.

Each segment is read from a state warmed up on the text before it, which costs the figure less than its third decimal;
the exact figure of a whole text, in one pass, is `evaluate`'s. Every token counts exactly once, regardless of the batch
size.

S: segments, n: tokens of a segment, N: tokens of the text.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from unrolled.kernels.softmax import IGNORED
from unrolled.nn import LanguageModel, State

SEGMENTS = 64
WARM_UP_TOKENS = 128
CHUNK_TOKENS = 256


def validation_loss_nats(
    model: LanguageModel, ids: np.ndarray, start_id: int, max_tokens: int, before_part: Callable[[], None] | None = None
) -> tuple[float, int]:
    """Measure the loss on the first `max_tokens` tokens of a text.

    Args:
        model: the language model; its device computes.
        ids: tokens (N,), of any integer type.
        start_id: the token that the first one is predicted from.
        max_tokens: the tokens after these are left out.
        before_part: is called before each part of the work (up to 64 x 256 tokens); what it raises ends the evaluation.

    Returns:
        The summed loss in nats and the count of targets.
    """
    text = torch.from_numpy(np.array(ids[:max_tokens], dtype=np.int64))
    N = len(text)
    read = torch.cat((torch.tensor([start_id]), text))  # read[j] predicts text[j]
    segments = max(1, min(SEGMENTS, N // (2 * WARM_UP_TOKENS)))
    n = -(-N // segments)
    starts = torch.arange(segments).unsqueeze(1) * n  # (S, 1)
    with torch.no_grad():
        state = _warm_state(model, read, starts)
        return _summed_loss(model, read, text, starts + torch.arange(n), state, before_part)


def _warm_state(model: LanguageModel, read: torch.Tensor, starts: torch.Tensor) -> State:
    """Return each segment's state after the tokens before it; the first segment's is that of an empty text."""
    state = model.initial_state(len(starts))
    if len(starts) == 1:
        return state
    before = (starts + torch.arange(-WARM_UP_TOKENS, 0)).clamp(min=0)
    _, warm = model.hidden(read[before].t().to(model.embedding.device), state)
    for part in warm:
        part[:, 0] = 0
    return warm


def _summed_loss(
    model: LanguageModel,
    read: torch.Tensor,
    text: torch.Tensor,
    positions: torch.Tensor,
    state: State,
    before_part: Callable[[], None] | None,
) -> tuple[float, int]:
    device = model.embedding.device
    total, N = 0.0, len(text)
    inside = positions < N
    positions = positions.clamp(max=N - 1)
    targets = text[positions].masked_fill(~inside, IGNORED)
    for begin in range(0, positions.shape[1], CHUNK_TOKENS):
        if before_part is not None:
            before_part()
        columns = slice(begin, begin + CHUNK_TOKENS)
        nats, state = model.loss_nats(read[positions[:, columns]].to(device), targets[:, columns].to(device), state)
        total += nats.item()
    return total, N
