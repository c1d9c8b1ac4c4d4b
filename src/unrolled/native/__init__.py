"""The compiled C library: its sources in `csrc/`, its building, finding and calling; nothing here knows autograd.

`build` compiles the sources, `library` loads the variant for this processor, `team` and `threads` share work between
threads, `operands` packs tensors for it; `decode` and `newton_schulz` call two families of its functions.
"""

from unrolled.native.library import native_library, native_status
from unrolled.native.operands import GATES
from unrolled.native.precisions import DTYPES

__all__ = ["DTYPES", "GATES", "native_library", "native_status"]
