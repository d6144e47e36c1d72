"""A ring of byte strings: the newest that fit, in a buffer that never grows.

Theory of operation. A string is appended behind the newest one and may wrap around the buffer's end; the
oldest ones give way. Where strings lie is kept in a deque of at most ``limit`` entries.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray


class ByteRing:
    """Byte strings in ``buffer`` (uint8), oldest first, at most ``limit`` of them."""

    def __init__(self, buffer: NDArray[np.uint8], limit: int = 1024) -> None:
        self._buffer = buffer
        self._limit = limit
        self._places: deque[tuple[int, int]] = deque()
        self._end = 0
        self._used = 0

    @property
    def used(self) -> int:
        """Bytes taken by the strings."""
        return self._used

    def __len__(self) -> int:
        return len(self._places)

    def append(self, data: bytes) -> int:
        """Append ``data``; return how many old strings gave way.

        Raises
        ------
        ValueError
            ``data`` is longer than the buffer.
        """
        size, capacity = len(data), len(self._buffer)
        if size > capacity:
            raise ValueError(f"{size} bytes do not fit a ring of {capacity}")
        lost = 0
        while self._used + size > capacity or len(self._places) >= self._limit:
            self._used -= self._places.popleft()[1]
            lost += 1
        source = np.frombuffer(data, np.uint8)
        head = min(size, capacity - self._end)
        self._buffer[self._end : self._end + head] = source[:head]
        self._buffer[: size - head] = source[head:]
        self._places.append((self._end, size))
        self._end = (self._end + size) % capacity if capacity else 0
        self._used += size
        return lost

    def __iter__(self) -> Iterator[bytes]:
        for start, size in self._places:
            head = min(size, len(self._buffer) - start)
            yield self._buffer[start : start + head].tobytes() + self._buffer[: size - head].tobytes()
