"""The history of a population: observations, actions and free energy of its agents, within a byte budget.

Theory of operation. A record is one step of one agent: agent, tick, time, observations, actions, free energy.
Records are written to an open block of plain columns. A full block is closed: agent, tick and time are stored
as differences, and every column is split into byte planes and compressed with zlib unless that makes it
longer. Closed blocks go to a ring, from which the oldest are removed. All of it is in the arena. Free energy
is stored as float16 (three digits).
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from edge_agent.errors import PlatformError
from edge_agent.memory.arena import Column
from edge_agent.memory.ring import ByteRing

OPEN_SHARE = 4  # the open block takes a quarter of the budget, up to
MAX_OPEN_RECORDS = 4096
MIN_OPEN_RECORDS = 16
MIN_PLACES = 16
BYTES_PER_PLACE = 2048  # closed blocks are rarely shorter
_HEADER = 5
_PACKED, _PLAIN = 1, 0
_LARGEST = 65504.0  # of float16
_DIFFERENCES = ("agent", "tick", "time")
Records = dict[str, NDArray[Any]]


def fields(
    modalities: int, controls: int, observed: DTypeLike = np.int16
) -> dict[str, tuple[tuple[int, ...], DTypeLike]]:
    """Return shape (of one record) and dtype of each column."""
    return {
        "agent": ((), np.int32),
        "tick": ((), np.int64),
        "time": ((), np.int64),
        "observation": ((modalities,), observed),
        "action": ((controls,), np.int16),
        "free_energy": ((), np.float16),
    }


def record_bytes(modalities: int, controls: int, observed: DTypeLike = np.int16) -> int:
    """Return the bytes of one open record."""
    return sum(
        math.prod(shape) * np.dtype(dtype).itemsize
        for shape, dtype in fields(modalities, controls, observed).values()
    )


def columns(
    nbytes: int, modalities: int, controls: int, observed: DTypeLike = np.int16
) -> tuple[Column, ...]:
    """Return what a history of ``nbytes`` needs of the arena; nothing if not even two blocks fit."""
    size = record_bytes(modalities, controls, observed)
    capacity = min(nbytes // OPEN_SHARE // size, MAX_OPEN_RECORDS)
    if capacity < MIN_OPEN_RECORDS:
        return ()
    open_block = tuple(
        Column(name, (capacity, *shape), dtype)
        for name, (shape, dtype) in fields(modalities, controls, observed).items()
    )
    places = Column("places", (max(nbytes // BYTES_PER_PLACE, MIN_PLACES), 2), np.int64)
    taken = sum(column.nbytes for column in (*open_block, places))
    closed = Column("closed", (nbytes - taken,), np.uint8)  # any block fits: an open one is a quarter
    return (*open_block, places, closed)


class History:
    """Records in ``arrays``, which are the arena's arrays for `columns`; without arrays it keeps nothing.

    ``observed`` is the dtype of an observation: int16 bins, or a network's float32.
    """

    def __init__(
        self,
        arrays: Mapping[str, NDArray[Any]],
        modalities: int,
        controls: int,
        observed: DTypeLike = np.int16,
    ) -> None:
        self._fields = fields(modalities, controls, observed)
        self._open = {name: arrays[name] for name in self._fields} if arrays else {}
        self._capacity = len(arrays["agent"]) if arrays else 0
        self._block_bytes = self._capacity * record_bytes(modalities, controls, observed)
        nothing: Mapping[str, NDArray[Any]] = {
            "closed": np.zeros(0, np.uint8),
            "places": np.zeros((0, 2), np.int64),
        }
        kept = arrays or nothing
        self._closed = ByteRing(kept["closed"], kept["places"])
        self._fill = 0

    def append(
        self,
        agents: NDArray[np.intp],
        tick: int,
        time_ms: int,
        observations: NDArray[Any],
        actions: NDArray[np.int16],
        free_energy: NDArray[np.float32],
    ) -> None:
        """Add a record for each of ``agents`` (n,): observations (n, M), actions (n, F), free energy (n,)."""
        start = 0
        surprise = np.minimum(np.maximum(free_energy, -_LARGEST), _LARGEST)
        while start < len(agents) and self._capacity:
            count = min(len(agents) - start, self._capacity - self._fill)
            here, there = slice(self._fill, self._fill + count), slice(start, start + count)
            self._open["agent"][here] = agents[there]
            self._open["tick"][here] = tick
            self._open["time"][here] = time_ms
            self._open["observation"][here] = observations[there]
            self._open["action"][here] = actions[there]
            self._open["free_energy"][here] = surprise[there]
            start += count
            self._fill += count
            if self._fill == self._capacity:
                self._closed.append(self._pack())
                self._fill = 0

    def select(self, agent: int | None = None, last: int | None = None) -> Records:
        """Return the records of ``agent`` (None: of all), oldest first, the ``last`` ones of them.

        Raises
        ------
        PlatformError
            A block is not as it was written: memory was damaged.
        """
        parts = []
        for block in (*self._closed, None):
            records = self._unpack(block) if block is not None else self._view()
            if agent is not None and records:
                chosen = records["agent"] == agent
                records = {name: column[chosen] for name, column in records.items()}
            parts.append(records)
        joined = {
            name: np.concatenate([part[name] for part in parts if part] or [np.zeros((0, *shape), dtype)])
            for name, (shape, dtype) in self._fields.items()
        }
        if last is not None:
            joined = {name: column[max(len(column) - last, 0) :] for name, column in joined.items()}
        return joined

    @property
    def held(self) -> int:
        """How many records there are now."""
        return self._fill + sum(int.from_bytes(block[1:_HEADER], "little") for block in self._closed)

    def _view(self) -> Records:
        return {name: column[: self._fill].copy() for name, column in self._open.items()}

    def _pack(self) -> bytes:
        parts = []
        for name, column in self._open.items():
            differences = np.diff(column, prepend=column.dtype.type(0)) if name in _DIFFERENCES else column
            plain = np.ascontiguousarray(differences).view(np.uint8)
            parts.append(plain.reshape(-1, column.dtype.itemsize).T.tobytes())
        raw = b"".join(parts)
        packed = zlib.compress(raw, 1)
        kind, data = (_PACKED, packed) if len(packed) < len(raw) else (_PLAIN, raw)
        return bytes([kind]) + self._capacity.to_bytes(4, "little") + data

    def _raw(self, block: bytes) -> bytes:
        if block[0] != _PACKED:
            return block[_HEADER:]
        try:
            return zlib.decompressobj().decompress(block[_HEADER:], self._block_bytes)
        except zlib.error as error:
            raise PlatformError(f"history: a closed block is damaged ({error})") from error

    def _unpack(self, block: bytes) -> Records:
        count = int.from_bytes(block[1:_HEADER], "little")
        raw = self._raw(block)
        if block[0] not in (_PACKED, _PLAIN) or count != self._capacity or len(raw) != self._block_bytes:
            raise PlatformError("history: a closed block is damaged")
        records: Records = {}
        offset = 0
        for name, (shape, dtype) in self._fields.items():
            kind = np.dtype(dtype)
            elements = count * math.prod(shape)
            planes = np.frombuffer(raw, np.uint8, elements * kind.itemsize, offset)
            values = np.ascontiguousarray(planes.reshape(kind.itemsize, elements).T).view(kind)
            values = values.reshape(count, *shape)
            records[name] = np.cumsum(values, dtype=kind) if name in _DIFFERENCES else values
            offset += elements * kind.itemsize
        return records
