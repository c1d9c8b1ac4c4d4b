"""Generating text: `generate` and `stream` with any `Decoder`.

`processors` contains the operations on logits, `sampler` applies them to one sample and draws its tokens, `batch` runs
the samples of a request in parallel, `native_batch` does all of this in C, block by block.
"""

from unrolled.sampling.generate import Delta, Generation, Sample, generate, stream
from unrolled.sampling.sampler import resolve_seed, sample_seed

__all__ = ["Delta", "Generation", "Sample", "generate", "resolve_seed", "sample_seed", "stream"]
