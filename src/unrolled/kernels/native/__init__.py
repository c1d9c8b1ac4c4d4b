"""The recurrence in plain C as a kernel: nodes of autograd's graph over the functions of `unrolled.native`."""

from unrolled.kernels.native.kernel import NativeKernel

__all__ = ["NativeKernel"]
