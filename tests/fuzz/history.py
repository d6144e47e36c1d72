"""History blocks: appended records are returned, and a damaged block raises one of our errors.

The input is first a row of appends to a small history, then bytes that are put over its closed blocks.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edge_agent.memory.history import History, columns

NBYTES = 2048
TICKS = 4


def decode(data: bytes) -> None:
    """Two bytes say how many records there are and where the damage begins, the rest is both."""
    arrays = {column.name: np.zeros(column.shape, column.dtype) for column in columns(NBYTES, 2, 1)}
    history = History(arrays, 2, 1)
    count = data[0] % 64 if data else 0
    noise = np.resize(np.frombuffer(data or b"\0", np.int8), (count, 4)).astype(np.int16)
    for tick in range(TICKS):
        tags = noise[:, 0].astype(np.intp)
        surprise = noise[:, 3].astype(np.float32)
        history.append(tags, tick, 1000 * tick, noise[:, 1:3], noise[:, :1], surprise)
    kept = history.select()
    tail = np.tile(noise[:, 1:3], (TICKS, 1))[-len(kept["tick"]) :] if len(kept["tick"]) else noise[:0, 1:3]
    assert np.array_equal(kept["observation"], tail)
    assert history.held == len(kept["tick"])
    damage = np.frombuffer(data[2:], np.uint8)
    start = (data[1] if len(data) > 1 else 0) * 8 % NBYTES
    closed = arrays["closed"][start : start + len(damage)]
    closed[:] = damage[: len(closed)]
    history.select(agent=1, last=5)
    history.held  # noqa: B018 - it reads the blocks


def seed() -> bytes:
    """Return one input that is right."""
    return bytes([9, 255, 1, 2, 3])


def seeds() -> Iterator[bytes]:
    """Yield inputs to start from."""
    yield seed()
    yield bytes([200, 0]) + bytes(range(64))
    yield bytes([90, 1, 1, 0, 0, 0, 0])
