"""The compiled C library: its sources (`csrc/`), how it is built, loaded and called; nothing here depends on autograd.

`build` compiles the sources, `library` loads the variant for this processor, `team` and `threads` divide work between
threads, `operands` packs tensors and multiplies them; `decode` and `newton_schulz` call two families of its functions.
"""

from unrolled.native.library import executable_variants, native_library, native_status, native_variant
from unrolled.native.operands import GATES
from unrolled.native.precisions import DTYPES

__all__ = ["DTYPES", "GATES", "executable_variants", "native_library", "native_status", "native_variant"]
