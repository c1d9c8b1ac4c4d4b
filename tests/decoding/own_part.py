"""A language model with a part that no fast decoder knows, and its text computed without any decoder."""

from __future__ import annotations

import math
import random

import torch
from torch import nn

from unrolled.config import ModelSettings
from unrolled.nn import LanguageModel


class ModelWithOwnPart(LanguageModel):
    """Adds a second linear map of the hidden state to the logits; its weight is the parameter `extra.weight`."""

    def __init__(self, settings, vocabulary_size, generator=None, kernel=None, regularization=None):
        super().__init__(settings, vocabulary_size, generator, kernel, regularization)
        self.extra = nn.Linear(settings.hidden_size, vocabulary_size, bias=False)
        with torch.no_grad():
            self.extra.weight.normal_(generator=generator)

    def logits(self, h):
        return super().logits(h) + self.extra(h)


def model_with_own_part(vocabulary_size=11, embedding_size=5, hidden_size=13, layers=2, seed=4):
    settings = ModelSettings(embedding_size=embedding_size, hidden_size=hidden_size, layers=layers)
    return ModelWithOwnPart(settings, vocabulary_size, torch.Generator().manual_seed(seed))


def sharing_weights(network, seed=4):
    """Return a model with an own part and otherwise the weights of an ordinary one."""
    model = ModelWithOwnPart(network.settings, network.vocabulary_size, torch.Generator().manual_seed(seed))
    model.load_state_dict(network.state_dict(), strict=False)
    return model


@torch.no_grad()
def texts_of(model, tokenizer, prompt, settings):
    """Return the samples' texts; `model.forward` reads the whole text again for every token, without a carried state.

    For temperature, top-k and the three penalties; the other settings must be neutral.
    """
    seeds = [(settings.seed + j) % 2**64 for j in range(settings.n)]
    return [_text_of(model, tokenizer, prompt, settings, random.Random(seed)) for seed in seeds]


def _text_of(model, tokenizer, prompt, settings, generator):
    read, written = tokenizer.encode(prompt).tolist(), []
    while len(written) < settings.max_tokens:
        ids = [*(read or [tokenizer.start_id]), *written]
        scores = model(torch.tensor([ids]))[0][0, -1].tolist()
        window = [*read, *written][-settings.repetition_window :]
        for token in range(len(scores)):
            if token in window:
                factor = settings.repetition_penalty
                scores[token] = scores[token] / factor if scores[token] > 0 else scores[token] * factor
            times = written.count(token)
            scores[token] -= settings.frequency_penalty * times + settings.presence_penalty * (times > 0)
        scores[tokenizer.unknown_id] = -math.inf
        lowest = sorted(scores)[-settings.top_k] if settings.top_k else -math.inf
        odds = [math.exp(score / settings.temperature) if score >= lowest else 0.0 for score in scores]
        written.append(_drawn(odds, generator.random()))
    return tokenizer.decode(written)


def _drawn(odds, uniform):
    total = 0.0
    for token, value in enumerate(odds):
        total += value
        if total > uniform * math.fsum(odds):
            return token
    raise AssertionError
