"""The recurrence in plain C as a kernel: autograd functions over the C library of `unrolled.native`."""

from unrolled.kernels.native.kernel import NativeKernel

__all__ = ["NativeKernel"]
