"""The likelihood of a text: a single pass from its first token to its last, the state carried all the way.

    surprisal_t = -log p(token_t | token_1 .. token_{t-1})        total = sum_t surprisal_t        all in nats

The first token is predicted from the start token (the end of a line), so every token of the text counts exactly once.
Scoring and evaluating are the same pass: the sum of the scores is the loss, to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from unrolled.nn import LanguageModel
from unrolled.units import bits_per_unit, perplexity

CHUNK_TOKENS = 1024  # how many steps' activations are held at a time


@dataclass(frozen=True)
class Likelihood:
    """A text's likelihood, with all that it can be divided by."""

    total_nats: float
    tokens: int
    characters: int
    utf8_bytes: int
    unknown_tokens: int

    @property
    def nats_per_token(self) -> float:
        """Mean loss."""
        return self.total_nats / self.tokens if self.tokens else math.nan

    def to_json(self) -> dict[str, float | int]:
        """Return the figures under the names that the command line prints."""
        return {
            "tokens": self.tokens,
            "nats_per_token": self.nats_per_token,
            "perplexity": perplexity(self.nats_per_token),
            "bits_per_char": bits_per_unit(self.total_nats, self.characters),
            "bits_per_byte": bits_per_unit(self.total_nats, self.utf8_bytes),
            "unknown_tokens": self.unknown_tokens,
            "characters": self.characters,
            "utf8_bytes": self.utf8_bytes,
            "total_nats": self.total_nats,
        }


def surprisals_nats(model: LanguageModel, ids: np.ndarray, start_id: int) -> Iterator[np.ndarray]:
    """Yield each token's surprisal in nats, float64, a chunk of the text at a time.

    Args:
        model: the language model; its device computes.
        ids: tokens (N,), of any integer type.
        start_id: the token that the first one is predicted from.
    """
    device = model.embedding.device
    state, before = None, start_id
    for begin in range(0, len(ids), CHUNK_TOKENS):
        chunk = torch.from_numpy(np.array(ids[begin : begin + CHUNK_TOKENS], dtype=np.int64))
        inputs = torch.cat((torch.tensor([before]), chunk[:-1]))
        with torch.no_grad():
            h, state = model.hidden(inputs.unsqueeze(1).to(device), state)
            log_p = functional.log_softmax(model.logits(h[:, 0]), dim=-1)  # (T, V)
            nats = -log_p.gather(1, chunk.to(device).unsqueeze(1)).squeeze(1)
        before = int(chunk[-1])
        yield nats.cpu().double().numpy()


def evaluate(
    model: LanguageModel, ids: np.ndarray, start_id: int, characters: int, utf8_bytes: int, unknown_tokens: int = 0
) -> Likelihood:
    """Return the likelihood of a whole text; see `surprisals_nats`."""
    total = sum_nats(surprisals_nats(model, ids, start_id))
    return Likelihood(total, len(ids), characters, utf8_bytes, unknown_tokens)


def sum_nats(chunks: Iterator[np.ndarray]) -> float:
    """Sum surprisals exactly rounded, so that neither their order nor the chunks matter."""
    return math.fsum(value for chunk in chunks for value in chunk.tolist())
