"""The body of ``up/learned``: what a population counted in an epoch, in pieces.

Theory of operation. Increments are integers (`wire.increments`). Of their cells only those that are not 0
travel: distances and values, byte plane by byte plane, compressed. A piece holds at most ``MAX_LISTED``
cells, so that it fits a message, and says of which contribution it is: population, bundle, epoch, and what is
counted. So every piece is checked alone, in whatever order they come: an upper bound of what it unpacks to is
known before it is unpacked, and the room that the whole takes is claimed only after its tensors were compared
with the model's (`assembled`).

An epoch is named by a number that is larger than the one before: the Unix second in which it was taken out,
or one more than the last epoch's where a clock is behind. ``shift`` says how often counts were halved before
the epoch (forgetting).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import ConfigError, PeerError
from edge_agent.wire import fields, topics
from edge_agent.wire.increments import (
    CAPACITY_BITS,
    ITEM_BYTES,
    MAX_BITS,
    MAX_CELLS,
    MAX_RANK,
    Counts,
    Increments,
    pack,
    unpack,
)
from edge_agent.wire.messages import Body

MAX_LISTED = 16_384
MAX_PIECES = MAX_CELLS // MAX_LISTED
MAX_TENSORS = 512
MAX_EPOCH = 2**53
MAX_SHIFT = 62
MAX_DATA = ITEM_BYTES * MAX_LISTED + 1024
_HEX = frozenset("0123456789abcdef")


class LearnedEpoch(NamedTuple):
    """What each piece says of the whole.

    ``bundle`` is the digest of the bundle that ran, ``updates`` the ticks of agents that were counted.
    """

    population: str
    bundle: str
    epoch: int
    updates: int
    shift: int
    tensors: tuple[Counts, ...]
    pieces: int

    @property
    def cells(self) -> int:
        """Cells of all tensors."""
        return sum(tensor.cells for tensor in self.tensors)


class Piece(NamedTuple):
    """One piece: increasing ``places`` in the vector of all tensors, their ``units`` from 1; int64 [n]."""

    whole: LearnedEpoch
    number: int
    places: NDArray[np.int64]
    units: NDArray[np.int64]


def to_bodies(increments: Increments, population: str, bundle: str, epoch: int, shift: int = 0) -> list[Body]:
    """Return the bodies of an epoch's pieces; one if nothing was counted."""
    places = np.flatnonzero(increments.units)
    starts = range(0, max(len(places), 1), MAX_LISTED)
    common: Body = {
        "population": population,
        "bundle": bundle,
        "epoch": epoch,
        "updates": increments.updates,
        "tensors": [[t.name, list(t.shape), t.bits] for t in increments.tensors],
        "pieces": len(starts),
    }
    if shift:
        common["shift"] = shift
    bodies = []
    for number, start in enumerate(starts):
        part = places[start : start + MAX_LISTED]
        data = pack(part, increments.units[part], 9)
        bodies.append(common | {"piece": number, "listed": len(part), "data": data})
    return bodies


def from_body(body: Mapping[Any, Any]) -> Piece:
    """Return the piece in a message.

    Raises
    ------
    PeerError
        A field is missing, of another type or out of range, or a cell's units are negative or more than its
        updates can be. At most ``MAX_LISTED`` cells are unpacked.
    """
    whole = _contribution(body)
    number = fields.integer(body, "piece", 0, whole.pieces - 1)
    listed = fields.integer(body, "listed", 0, min(MAX_LISTED, whole.cells))
    data = fields.blob(body, "data", 1, MAX_DATA)
    try:
        places, units = unpack(data, whole.cells, listed)
    except ValueError as error:
        raise PeerError(f"data: {error}") from error
    _check_units(whole, places, units)
    return Piece(whole, number, places, units)


def assembled(pieces: Sequence[Piece], tensors: Sequence[Counts]) -> Increments:
    """Return the increments of all pieces of a contribution, in any order.

    Parameters
    ----------
    pieces : sequence of Piece
        Each at least once.
    tensors : sequence of Counts
        What the model counts. Nothing is allocated for other tensors.

    Raises
    ------
    PeerError
        Pieces are missing or overlap, or count something else than ``tensors``.
    ModelError
        Tensors have more counts than updates.
    """
    by_number = {piece.number: piece for piece in pieces}
    if not pieces or len(by_number) != pieces[0].whole.pieces:
        raise PeerError(f"{len(by_number)} pieces of {pieces[0].whole.pieces if pieces else 'unknown'}")
    whole = pieces[0].whole
    if any(piece.whole != whole for piece in pieces):
        raise PeerError("pieces of different contributions")
    if whole.tensors != tuple(tensors):
        raise PeerError(f"counts {names(whole.tensors)}, the model {names(tensors)}")
    units = np.zeros(whole.cells, np.int64)
    last = -1
    for number in range(whole.pieces):
        piece = by_number[number]
        if len(piece.places):
            if piece.places[0] <= last:
                raise PeerError(f"piece {number}: cells of another piece")
            last = int(piece.places[-1])
            units[piece.places] = piece.units
    return Increments(whole.bundle, whole.tensors, whole.updates, units)


def names(tensors: Sequence[Counts]) -> str:
    """Return tensors as a message shows them: names, shapes and bits; the first ones of many."""
    said = [f"{t.name} {'x'.join(map(str, t.shape))} in 2^-{t.bits}" for t in tensors[:4]]
    return ", ".join(said) + (f" and {len(tensors) - 4} more" if len(tensors) > 4 else "")


def _contribution(body: Mapping[Any, Any]) -> LearnedEpoch:
    population = fields.text(body, "population", 64)
    try:
        topics.check_name(population, "population")
    except ConfigError as error:
        raise PeerError(str(error)) from error
    bundle = fields.text(body, "bundle", 64)
    if len(bundle) != 64 or not _HEX.issuperset(bundle):
        raise PeerError(f"bundle: found {bundle!r}, expected a SHA-256 in hex")
    rows = fields.sequence(body, "tensors", MAX_TENSORS)
    tensors = tuple(_counts(fields.row("tensors", item, 3)) for item in rows)
    cells = sum(tensor.cells for tensor in tensors)
    if not tensors or cells > MAX_CELLS:
        raise PeerError(f"tensors: {cells} cells, expected 1 to {MAX_CELLS}")
    if len({tensor.name for tensor in tensors}) != len(tensors):
        raise PeerError("tensors: one stands there twice")
    finest = max(tensor.bits for tensor in tensors)
    return LearnedEpoch(
        population,
        bundle,
        fields.integer(body, "epoch", 1, MAX_EPOCH),
        fields.integer(body, "updates", 0, 1 << (CAPACITY_BITS - finest)),
        fields.integer(body, "shift", 0, MAX_SHIFT, 0),
        tensors,
        fields.integer(body, "pieces", 1, -(-cells // MAX_LISTED)),
    )


def _counts(item: Sequence[Any]) -> Counts:
    name = fields.check_text("tensors.name", item[0], 4)
    if name[:2] not in ("A_", "B_", "D_") or not (name[2:].isascii() and name[2:].isdigit()):
        raise PeerError(f"tensors: found {name!r}, expected A_0, B_0 or D_0, say")
    shape = item[1]
    if not isinstance(shape, list) or not 1 <= len(shape) <= MAX_RANK:
        raise PeerError(f"tensors: {name}: expected a shape of 1 to {MAX_RANK} lengths")
    cells, lengths = 1, []
    for length in shape:
        lengths.append(fields.check_integer(f"tensors.{name}", length, 1, MAX_CELLS))
        cells *= length
        if cells > MAX_CELLS:
            raise PeerError(f"tensors: {name}: more than {MAX_CELLS} cells")
    return Counts(name, tuple(lengths), fields.check_integer(f"tensors.{name}.bits", item[2], 1, MAX_BITS))


def _check_units(whole: LearnedEpoch, places: NDArray[np.int64], units: NDArray[np.int64]) -> None:
    first = 0
    for tensor in whole.tensors:
        low, high = np.searchsorted(places, (first, first + tensor.cells))
        first += tensor.cells
        part = units[low:high]
        if not len(part):
            continue
        if part.min() < 1:
            raise PeerError(f"data: {tensor.name} has {part.min()} units in a cell, expected 1 or more")
        # Each cell is bounded first: 2^62 units and less; halves of them cannot overflow a sum.
        most = whole.updates << tensor.bits
        total = (int((part >> 31).sum()) << 31) + int((part & (2**31 - 1)).sum())
        if part.max() > most or total > most:
            raise PeerError(f"data: {tensor.name} has more counts than {whole.updates} updates")
