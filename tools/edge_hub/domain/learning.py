"""What devices learned under one model, added up and applied to the model's file. Pure.

Theory of operation. A contribution is what a device counted in an epoch, in pieces. Pieces are put together,
the epochs of a device are added in their order (the counts before an epoch are halved ``shift`` times, which
is forgetting), and the devices are added by `domain.increment_sums`: robustly, or plainly. All of
that is integer arithmetic, except that a device with more counts than the median one is scaled down by one
multiplication in float64 and rounded down to integers: no order of contributions, pieces, repetitions or
threads changes a bit of the sum.

The tensors, their shapes and their units are those of the model's file and of most devices; what does not fit
is named in ``refused`` and changes nothing. In the file pA, pB, pD become p + lr * counts, and A, B, D what
they make likely: p / sum. Traces of a live agent are left out, since they were made with the old model.

``A`` has the shape [O, *states] and ``D`` [S] in files and in increments; ``B`` is [S, *states, U] in files
and [U, S, *states] in increments.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import EdgeAgentError, ModelError
from edge_agent.wire import learned
from edge_agent.wire.increments import Counts, Increments
from edge_agent.wire.learned import Piece
from edge_agent.wire.npz import Arrays
from edge_hub.domain import increment_sums

TRACE = "trace_"
KINDS = ("A", "B", "D")
LARGEST = 3
"""Columns of a tensor that a report names."""
_LEAST = float(np.finfo(np.float64).eps)


class SentEpoch(NamedTuple):
    """The pieces that are there of a device's epoch; ``pieces`` is how many there are in all."""

    device: str
    epoch: int
    pieces: int
    parts: Sequence[Piece]


class Gathered(NamedTuple):
    """Increments of each device over its epochs, the epochs' number, and lines about what is left out."""

    devices: dict[str, Increments]
    epochs: dict[str, int]
    refused: tuple[str, ...]


class Change(NamedTuple):
    """How far a tensor's columns moved, KL(after | before) in nats; the largest with their indices."""

    name: str
    counts: float
    mean: float
    most: float
    largest: tuple[tuple[tuple[int, ...], float], ...]


def learning_shapes(arrays: Mapping[str, NDArray[Any]]) -> dict[str, tuple[int, ...]]:
    """Return the tensors that a model's file learns, with their shapes in increments, in their order.

    Raises
    ------
    ModelError
        The file says nothing of learning, or concentrations are missing.
    """
    if "learn" not in arrays:
        raise ModelError('learn is missing: expected which of "A", "B", "D" the model learns')
    try:
        kinds = json.loads(str(arrays["learn"]))
    except ValueError as error:
        raise ModelError("learn: not JSON") from error
    if not isinstance(kinds, list) or not kinds or not all(kind in KINDS for kind in kinds):
        raise ModelError(f'learn: found {str(kinds)[:40]}, expected a list of "A", "B", "D"')
    out = {}
    for kind in (kind for kind in KINDS if kind in kinds):
        numbers = [i for i in range(len(arrays)) if f"p{kind}_{i}" in arrays]
        if not numbers or numbers != list(range(len(numbers))):
            raise ModelError(f"p{kind}_{len(numbers)} is missing, of what learns")
        for i in numbers:
            prior = arrays[f"p{kind}_{i}"]
            if prior.dtype.kind not in "iuf" or not (np.isfinite(prior) & (prior >= 0)).all():
                raise ModelError(f"p{kind}_{i}: expected counts from 0")
            if f"{kind}_{i}" in arrays and arrays[f"{kind}_{i}"].shape != prior.shape:
                raise ModelError(
                    f"p{kind}_{i}: shape {prior.shape}, expected that of {kind}_{i}, "
                    f"{arrays[f'{kind}_{i}'].shape}"
                )
            shape = prior.shape
            out[f"{kind}_{i}"] = (shape[-1], *shape[:-1]) if kind == "B" else shape
    return out


def gather(sent: Iterable[SentEpoch], shapes: Mapping[str, tuple[int, ...]], bundle: str) -> Gathered:
    """Return what each device counted under ``bundle`` over its epochs; one bad contribution stops none."""
    waiting, refused = list[SentEpoch](), set[str]()
    for one in sorted(sent, key=lambda one: (one.device, one.epoch)):
        if len({piece.number for piece in one.parts}) == one.pieces:
            waiting.append(one)
        else:
            refused.add(f"{one.device}: epoch {one.epoch}: {len(one.parts)} of {one.pieces} pieces are here")
    tensors = _tensors(waiting, shapes)
    devices: dict[str, Increments] = {}
    epochs: Counter[str] = Counter()
    for one in waiting:
        try:
            found = learned.assembled(one.parts, tensors)
            if found.model != bundle:
                raise ModelError(f"of model {found.model[:12]}, expected {bundle[:12]}")
            if not found.whole:
                raise ModelError("parts of counts, expected whole ones")
            before = devices.get(one.device)
            devices[one.device] = found if before is None else _after(before, one.parts[0], found)
        except EdgeAgentError as error:
            refused.add(f"{one.device}: epoch {one.epoch}: {error}")
        else:
            epochs[one.device] += 1
    return Gathered(devices, dict(epochs), tuple(sorted(refused)))


def merged(gathered: Gathered, least: int, robust: bool) -> Increments:
    """Return the sum over devices.

    Raises
    ------
    ModelError
        They are fewer than ``least``, or more than integers hold.
    """
    values = list(gathered.devices.values())
    if len(values) < least:
        raise ModelError(f"{len(values)} devices contributed, expected {least} at least (--min-devices)")
    return increment_sums.robust(values, least) if robust else increment_sums.total(values)


def shares(gathered: Gathered) -> dict[str, float]:
    """Return the part of each device's counts that the cap at the median leaves."""
    masses = {name: one.mass for name, one in gathered.devices.items()}
    median = float(np.median(list(masses.values()))) if masses else 0.0
    return {name: min(1.0, median / mass) if mass else 1.0 for name, mass in masses.items()}


def applied(arrays: Mapping[str, NDArray[Any]], increments: Increments) -> Arrays:
    """Return the model's file after what was learned."""
    remade = {tensor.name for tensor in increments.tensors}
    out = {
        name: array
        for name, array in arrays.items()
        if not name.startswith(TRACE) and name.rpartition(".")[0] not in remade  # stored by its entries
    }
    for tensor in increments.tensors:
        kind = tensor.name[0]
        counts = increments.counts(tensor.name)
        if kind == "B":
            counts = np.moveaxis(counts, 0, -1)
        rate = float(arrays.get(f"lr_p{kind}", np.array(1.0)))
        after = np.asarray(arrays[f"p{tensor.name}"], np.float64) + rate * counts
        out[f"p{tensor.name}"] = after
        out[tensor.name] = expected(after)
    return out


def expected(concentrations: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return p / sum over the first axis, p clipped from below at epsilon as pymdp does."""
    clipped = np.maximum(concentrations, _LEAST)
    out: NDArray[np.float64] = clipped / clipped.sum(axis=0)
    return out


def changes(
    before: Mapping[str, NDArray[Any]], after: Mapping[str, NDArray[Any]], increments: Increments
) -> list[Change]:
    """Return how far the columns of each tensor moved."""
    out = []
    for tensor, units in zip(increments.tensors, increments.masses, strict=True):
        old = expected(np.asarray(before[f"p{tensor.name}"], np.float64))
        new = np.asarray(after[tensor.name], np.float64)
        divergence = np.atleast_1d((new * np.log(new / old)).sum(axis=0))
        order = np.argsort(-divergence, axis=None, kind="stable")[:LARGEST]
        places = [tuple(int(i) for i in np.unravel_index(at, divergence.shape)) for at in order]
        out.append(
            Change(
                tensor.name,
                units / (1 << tensor.bits),
                float(divergence.mean()),
                float(divergence.max()),
                tuple((place, float(divergence[place])) for place in places),
            )
        )
    return out


def _tensors(sent: Sequence[SentEpoch], shapes: Mapping[str, tuple[int, ...]]) -> tuple[Counts, ...]:
    """Return the model's tensors in the units that most devices count in."""
    wanted = list(shapes.items())
    said: dict[tuple[int, ...], set[str]] = defaultdict(set)
    for one in sent:
        tensors = one.parts[0].whole.tensors
        if [(t.name, t.shape) for t in tensors] == wanted:
            said[tuple(t.bits for t in tensors)].add(one.device)
    most = max(said, key=lambda bits: (len(said[bits]), bits), default=(1,) * len(wanted))
    return tuple(Counts(name, shape, bits) for (name, shape), bits in zip(wanted, most, strict=True))


def _after(before: Increments, piece: Piece, found: Increments) -> Increments:
    """Return a device's increments with those of its next epoch."""
    shift = piece.whole.shift
    if shift:
        updates = -(-before.updates >> shift)  # rounded up: units are rounded down
        before = Increments(before.model, before.tensors, updates, before.units >> shift)
    return before + found
