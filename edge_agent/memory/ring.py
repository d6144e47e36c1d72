"""A ring buffer of byte strings, in arrays of fixed size.

Theory of operation. A string is appended after the newest one and may wrap around the buffer's end; the
oldest strings are removed. A second ring of fixed length stores (start, length) of each string; when it is
full, the oldest string is removed too.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray


class ByteRing:
    """Byte strings in ``buffer`` (uint8), oldest first; ``places`` (int64, (limit, 2)): where they lie."""

    def __init__(self, buffer: NDArray[np.uint8], places: NDArray[np.int64]) -> None:
        self._buffer = buffer
        self._places = places
        self._first = 0
        self._count = 0
        self._end = 0
        self._used = 0

    @property
    def used(self) -> int:
        """Bytes taken by the strings."""
        return self._used

    def __len__(self) -> int:
        return self._count

    def append(self, data: bytes) -> int:
        """Append ``data``; return how many old strings gave way.

        Raises
        ------
        ValueError
            ``data`` is longer than the buffer.
        """
        size, capacity, limit = len(data), len(self._buffer), len(self._places)
        if size > capacity:
            raise ValueError(f"{size} bytes do not fit a ring of {capacity}")
        lost = 0
        while self._used + size > capacity or self._count >= limit:
            self._used -= int(self._places[self._first, 1])
            self._first = (self._first + 1) % limit
            self._count -= 1
            lost += 1
        source = np.frombuffer(data, np.uint8)
        head = min(size, capacity - self._end)
        self._buffer[self._end : self._end + head] = source[:head]
        self._buffer[: size - head] = source[head:]
        self._places[(self._first + self._count) % limit] = (self._end, size)
        self._count += 1
        self._end = (self._end + size) % capacity
        self._used += size
        return lost

    def __iter__(self) -> Iterator[bytes]:
        for number in range(self._count):
            start, size = self._places[(self._first + number) % len(self._places)].tolist()
            head = min(size, len(self._buffer) - start)
            yield self._buffer[start : start + head].tobytes() + self._buffer[: size - head].tobytes()
