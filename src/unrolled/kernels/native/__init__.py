"""The recurrence in plain C.

`lstm.c` is the code, `build` compiles it, `library` finds it, `team` shares its work between threads, `operands` gives
it tensors, `kernel` is its place in autograd's graph.
"""

from unrolled.kernels.native.kernel import NativeKernel
from unrolled.kernels.native.library import executable_variants, native_library, native_status, native_variant

__all__ = ["NativeKernel", "executable_variants", "native_library", "native_status", "native_variant"]
