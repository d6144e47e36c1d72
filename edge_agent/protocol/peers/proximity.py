"""Positions as paths through nested cells, and the distance between two positions.

Theory of operation. A position becomes a path, a tuple of tokens from coarse to fine; the cells of all
positions form one tree. A place name is split at ``/``; plane and geographic coordinates go down a quadtree
(one token is a quarter, 2 bits, finest cell 1 m and 11 m); an H3 index is its base cell and its digits, read
from its bits, so that only the device that stands there needs the ``h3`` library. Distances and paths are
integer arithmetic: the same on every device.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

from edge_agent.wire.presence import Geographic, Hexagon, Metric, Place, Position

Path = tuple[str | int, ...]
NEAREST = 1000
ANYWHERE = 2**33  # a reach beyond all coordinates
_BITS = 32
_FINEST = 10  # a cell of 2^10 units is the smallest: 1.024 m, 11 m
_HALF = 1 << (_BITS - 1)
_HASH_TOKENS = 16


@lru_cache(maxsize=65536)
def path(position: Position) -> Path:
    """Return the cells that hold ``position``, from coarse to fine."""
    match position:
        case Place(name):
            return ("place", *name.split("/"))
        case Metric(x, y):
            return ("plane", *_quarters(x, y))
        case Geographic(lat, lon):
            return ("earth", *_quarters(lon, lat))
        case Hexagon(index):
            resolution = index >> 52 & 0xF
            digits = (index >> 3 * (15 - level) & 7 for level in range(1, resolution + 1))
            return ("h3", index >> 45 & 0x7F, *digits)
        case None:
            return ("nowhere",)


def cover(position: Position, reach: int) -> int:
    """Return the depth of the smallest cell that holds everything within ``reach`` of ``position``.

    Beyond the borders of the coordinate range there is nothing to hold. Depth 0 is the whole fleet.
    """
    if reach >= ANYWHERE:
        return 0
    match position:
        case Metric(x, y):
            return 1 + _common_quarters(x, y, reach)
        case Geographic(lat, lon):
            return 1 + _common_quarters(lon, lat, reach)
        case None:
            return 0
        case _:
            return max(1, len(path(position)) - reach)


def nearness(centre: Position, reach: int, position: Position) -> int:
    """Return how near ``position`` is, from 1000 at ``centre`` down to 0 at ``reach``; -1 is out of reach.

    ``reach`` is in the position's own unit: millimetres, 1e-7 degrees (the greater of both axes), or for
    place names and H3 cells the levels to go up until both are in one cell. Without a centre all are nearest;
    where the two can't be compared, only an unlimited reach holds the other.
    """
    match centre, position:
        case None, _:
            return NEAREST
        case Metric(x, y), Metric(u, v):
            distance = max(abs(x - u), abs(y - v))
        case (Geographic(y, x), Geographic(v, u)):
            distance = max(abs(x - u), abs(y - v))
        case (Place(), Place()) | (Hexagon(), Hexagon()):
            mine = path(centre)
            distance = len(mine) - common(mine, path(position))
        case _:
            return 0 if reach >= ANYWHERE else -1
    return -1 if distance > reach else NEAREST - NEAREST * distance // (reach + 1)


def common(one: Path, other: Path) -> int:
    """Return how many tokens two paths share from the start."""
    count = 0
    for mine, theirs in zip(one, other, strict=False):
        if mine != theirs:
            break
        count += 1
    return count


@lru_cache(maxsize=65536)
def spread(name: str) -> Path:
    """Return tokens that tell names apart which stand in one place: 2 bits each, of a digest."""
    digest = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=4).digest(), "big")
    return tuple(digest >> 2 * level & 3 for level in range(_HASH_TOKENS))


def _quarters(x: int, y: int) -> tuple[int, ...]:
    x, y = x + _HALF, y + _HALF
    return tuple((x >> bit & 1) << 1 | y >> bit & 1 for bit in range(_BITS - 1, _FINEST - 1, -1))


def _common_quarters(x: int, y: int, reach: int) -> int:
    def clip(value: int) -> int:
        return min(max(value + _HALF, 0), 2 * _HALF - 1)

    differ = (clip(x - reach) ^ clip(x + reach)) | (clip(y - reach) ^ clip(y + reach))
    return min(_BITS - differ.bit_length(), _BITS - _FINEST)
