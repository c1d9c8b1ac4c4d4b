"""Writing text: `generate` and `stream` over any `Decoder`.

`processors` holds the operations on logits in their order, `sampler` puts them to work for one sample and draws its
tokens, `batch` runs the samples of a request side by side, `native_batch` does all of that in C, block by block.
"""

from unrolled.sampling.generate import Delta, Generation, Sample, generate, stream
from unrolled.sampling.sampler import resolve_seed, sample_seed

__all__ = ["Delta", "Generation", "Sample", "generate", "resolve_seed", "sample_seed", "stream"]
