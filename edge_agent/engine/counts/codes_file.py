"""Arrays of a learned model as bytes, for a checkpoint.

Theory of operation. The codes in force were made of counts that have grown since. They are saved as they are,
so that a population goes on with the same bits. A line of JSON lists shapes and dtypes; the arrays follow.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import ConfigError

MAX_BYTES = 2**28


def packed(arrays: Sequence[NDArray[Any]]) -> bytes:
    """Return the bytes of arrays."""
    head = [[array.dtype.str, list(array.shape)] for array in arrays]
    body = b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)
    return zlib.compress(json.dumps(head).encode("ascii") + b"\n" + body, 1)


def unpacked(data: bytes, expected: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    """Return the arrays in ``data``: each of the dtype of one in ``expected``, and no longer.

    Raises
    ------
    ConfigError
        It is damaged, or of other arrays.
    """
    reader = zlib.decompressobj()
    try:
        plain = reader.decompress(data, MAX_BYTES)
        line, _, body = plain.partition(b"\n")
        head = json.loads(line)
        kinds = [(np.dtype(kind), tuple(int(n) for n in shape)) for kind, shape in head]
    except (zlib.error, ValueError, TypeError, RecursionError) as error:
        raise ConfigError("checkpoint: learned codes are damaged") from error
    sizes = [math.prod(shape) * dtype.itemsize for dtype, shape in kinds]
    fit = [
        dtype == like.dtype and len(shape) == like.ndim and bool((np.less_equal(shape, like.shape)).all())
        for (dtype, shape), like in zip(kinds, expected, strict=False)
    ]
    negative = any(n < 0 for _, shape in kinds for n in shape)
    if len(kinds) != len(expected) or not all(fit) or negative or sum(sizes) != len(body):
        raise ConfigError("checkpoint: learned codes are of another model")
    out, start = [], 0
    for (dtype, shape), size in zip(kinds, sizes, strict=True):
        out.append(np.frombuffer(body, dtype, math.prod(shape), start).reshape(shape))
        start += size
    return out
