"""The run directory on disk: readable without our code, written atomically, safe to open.

config.json         settings, sizes, hashes, format version
tokenizer.json      the vocabulary in the format of Hugging Face `tokenizers`; vocab.json: {"itos": [...]}
model.safetensors   the weights that did best on the validation text
metrics.jsonl       a line an evaluation         loss.png   the same as a picture
README.md           the model card
checkpoints/        last.safetensors: all that is needed to resume exactly
"""

from unrolled.runs.atomic import Unwritable, write_atomically
from unrolled.runs.card import write_card
from unrolled.runs.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from unrolled.runs.folder import RunConfig, RunFolder
from unrolled.runs.metrics import append_metrics, check_metrics, keep_metrics_up_to, read_metrics
from unrolled.runs.picture import draw_loss
from unrolled.runs.run_lock import run_lock
from unrolled.runs.weights import BestWeights, read_weights, write_weights

__all__ = [
    "BestWeights",
    "Checkpoint",
    "RunConfig",
    "RunFolder",
    "Unwritable",
    "append_metrics",
    "check_metrics",
    "draw_loss",
    "keep_metrics_up_to",
    "read_checkpoint",
    "read_metrics",
    "read_weights",
    "run_lock",
    "write_atomically",
    "write_card",
    "write_checkpoint",
    "write_weights",
]
