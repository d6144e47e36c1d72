"""A quantity with a first-order balance, as a prior for the transitions between its bands.

A well-mixed volume: x follows dx/dt = source - rate * (x - outside), e.g. CO2 of a room with its people and
its air changes per hour. While source and rate hold still the solution is exact, an exponential towards
outside + source / rate. Between two readings the source is the one that explains the step; transitions are
averaged over points within a band, with the source normally distributed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge_convert.fit.bins import BinnedSegment
from edge_convert.fit.template import BalanceTemplate

POINTS = 25
"""Points within a band that its transitions are averaged over."""
CLEAR = 20.0
"""Below so many times the noise a fall is not used to fit the rate."""
DEFAULT_RATE = 0.5
FloatArray = NDArray[np.float64]


def base_rate(
    balance: BalanceTemplate,
    segments: Sequence[BinnedSegment],
    column: int,
    idle: int | None,
    added: Sequence[FloatArray],
    hours: float,
) -> float:
    """Return the exchange without a control, per hour: the template's, or fitted to falls without a source.

    Least squares through the origin on the excess over outside, so that high readings outweigh noise.

    Parameters
    ----------
    balance : BalanceTemplate
    segments : sequence of BinnedSegment
    column, idle : int
        Modalities of the quantity, and of the one that tells when nothing is emitted.
    added : sequence of float64 (T,)
        Exchange that the control adds at each tick of the segments, per hour.
    hours : float
        Length of a tick.
    """
    if balance.rate is not None or balance.idle is None or idle is None:
        return DEFAULT_RATE if balance.rate is None else balance.rate
    befores, afters = [], []
    for segment, extra in zip(segments, added, strict=True):
        excess, quiet = segment.values[:, column] - balance.outside, segment.values[:, idle]
        dark = (quiet[:-1] < balance.idle.below) & (quiet[1:] < balance.idle.below) & (extra[:-1] == 0.0)
        falls = dark & (excess[:-1] > CLEAR * balance.noise) & (excess[1:] < excess[:-1])
        befores.append(excess[:-1][falls])
        afters.append(excess[1:][falls])
    before, after = np.concatenate(befores), np.concatenate(afters)
    product = float(before @ after)
    return -math.log(product / float(before @ before)) / hours if product > 0.0 else DEFAULT_RATE


def sources(x: FloatArray, rate: FloatArray, outside: float, hours: float) -> FloatArray:
    """Return the source that explains each step, float64 (T - 1,), never negative; NaN if not observed.

    Parameters
    ----------
    x : float64 (T,)
        Readings of the quantity, NaN where not observed.
    rate : float64 (T,)
        Exchange from each tick to the next, per hour.
    """
    excess = np.maximum(x - outside, 0.0)
    kept = np.exp(-rate[:-1] * hours)
    return np.asarray(np.maximum(excess[1:] - excess[:-1] * kept, 0.0) * rate[:-1] / (1.0 - kept))


def band_transition(
    bands: FloatArray,
    outside: float,
    source: FloatArray,
    spread: FloatArray,
    rate: float,
    hours: float,
    noise: float,
) -> FloatArray:
    """Return P(next band | band, state of the source), float64 (L, L, K).

    The quantity is taken as evenly spread within its band. The lowest band begins at ``outside``, the highest
    is as wide as its neighbour.

    Parameters
    ----------
    bands : float64 (L - 1,)
        Edges, ascending.
    source, spread : float64 (K,)
        Mean and standard deviation of the source, in the unit per hour.
    rate : float
        Exchange per hour.
    noise : float
        Least standard deviation, in the unit.
    """
    width = bands[-1] - bands[-2] if len(bands) > 1 else bands[0] - outside
    bounds = np.concatenate([[outside], bands, [bands[-1] + width]])
    within = (np.arange(POINTS) + 0.5) / POINTS
    x = bounds[:-1, None] + within * np.diff(bounds)[:, None]
    kept = math.exp(-rate * hours)
    mean = outside + (x[..., None] - outside) * kept + source / rate * (1.0 - kept)
    deviation = np.maximum(spread * (1.0 - kept) / rate, noise)
    below = _normal((bands[:, None, None, None] - mean) / deviation)
    cumulative = np.concatenate([np.zeros_like(below[:1]), below, np.ones_like(below[:1])])
    return np.asarray(np.diff(cumulative, axis=0).mean(axis=2))


def _normal(x: FloatArray) -> FloatArray:
    """Cumulative standard normal distribution, elementwise."""
    return np.asarray(0.5 * (1.0 + np.vectorize(math.erf)(x / math.sqrt(2.0))))
