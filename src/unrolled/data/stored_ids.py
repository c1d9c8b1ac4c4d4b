"""Token ids in a file, read chunk by chunk as they are needed; nothing is mapped into memory.

A text may be larger than memory, so its ids stay on disk. A memory map would do, but a process that touches a mapped
page which another program has cut off ends at once, without a word (SIGBUS). A read that finds too little is an error
that can be said. Reading the windows of a batch takes about a tenth of a millisecond, which no training step notices.
"""

from __future__ import annotations

import os
import threading
import weakref
from io import FileIO

import numpy as np
import numpy.typing as npt

from unrolled.errors import UserError


class StoredIds:
    """N little-endian unsigned integers in a file: an array (N,) of which slices and windows are read.

    Args:
        file: holds the ids and nothing else; unbuffered, and closed together with this object.
        dtype: the type of an id.
        name: what messages call the file.
    """

    def __init__(self, file: FileIO, dtype: np.dtype[np.unsignedinteger], name: str) -> None:
        self.dtype = dtype
        self.shape = (os.fstat(file.fileno()).st_size // dtype.itemsize,)
        self._file, self._name = file, name
        self._one_reader = threading.Lock()  # position and read belong together
        weakref.finalize(self, file.close)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, chunk: slice) -> npt.NDArray[np.unsignedinteger]:
        """Return the ids of a slice without gaps.

        Raises:
            UserError: another program has changed the file.
        """
        if not isinstance(chunk, slice) or chunk.step not in (None, 1):
            raise TypeError("ids on disk are read in slices without gaps")
        start, stop, _ = chunk.indices(len(self))
        return self.windows(np.array([start]), max(0, stop - start))[0]

    def __array__(
        self, dtype: npt.DTypeLike | None = None, copy: bool | None = None
    ) -> npt.NDArray[np.unsignedinteger]:
        """Return all ids, in memory."""
        return self[:].astype(self.dtype if dtype is None else dtype, copy=False)

    def windows(self, starts: npt.NDArray[np.int64], length: int) -> npt.NDArray[np.unsignedinteger]:
        """Return the `length` ids from each of the B starts on, (B, length).

        Raises:
            UserError: another program has changed the file.
        """
        ids = np.empty((len(starts), length), dtype=self.dtype)
        rows = ids.view(np.uint8)  # (B, bytes of a window)
        with self._one_reader:
            for row, start in zip(rows, starts.tolist(), strict=True):
                self._read(memoryview(row), start * self.dtype.itemsize)
        return ids

    def _read(self, row: memoryview, position: int) -> None:
        try:
            self._file.seek(position)
            while row and (count := self._file.readinto(row)):
                row = row[count:]
        except OSError as error:
            raise UserError(f"{self._name} cannot be read ({error.strerror or error}).") from None
        if row:
            raise UserError(
                f"{self._name} has become shorter while it was in use: another program changed it. Start again, or "
                "continue an interrupted run with unrolled train --resume; the text is then encoded again."
            )
