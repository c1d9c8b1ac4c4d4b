"""Benchmarks: ours beside the rivals, in one process, in turn; medians and ratios, never a bare time.

This is the one room where the framework's own LSTM appears: as the thing to equal and to beat.
"""
