"""Parameters, layers and the language model: `(ids, state) -> (logits, state)`.

`embedding`, `layer` and `output` are the model's parts; `dropout` is applied to their activations in training. Read
`cell` first.
"""

from unrolled.nn.cell import LSTMCell
from unrolled.nn.device import DeviceChoice, choose_device
from unrolled.nn.embedding import TokenEmbedding
from unrolled.nn.layer import LSTMLayer
from unrolled.nn.model import LanguageModel
from unrolled.nn.output import SeparateOutput, TiedOutput
from unrolled.nn.state import State

__all__ = [
    "DeviceChoice",
    "LSTMCell",
    "LSTMLayer",
    "LanguageModel",
    "SeparateOutput",
    "State",
    "TiedOutput",
    "TokenEmbedding",
    "choose_device",
]
