"""How likely a text is to a model: one pass with carried state, per token or as a whole."""

from unrolled.evaluation.likelihood import Likelihood, evaluate, surprisals_nats
from unrolled.evaluation.validation import validation_loss_nats

__all__ = ["Likelihood", "evaluate", "surprisals_nats", "validation_loss_nats"]
