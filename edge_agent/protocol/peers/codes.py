"""Likelihoods in 8 bits, and their product as a sum of integers.

Theory of operation. A code is c = round(255 · (p / p_max)^¼) (`wire.evidence`). Its logarithm is taken from
a table of integers in units of 2^-20 nats, so that the product of any number of likelihoods is an integer
sum: exact, the same in any order and on any machine. Code 0 stands for a quarter of a step, not for zero:
one agent alone never rules out what all others see.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_agent.errors import ObservationError
from edge_agent.wire.evidence import TOP

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
UNIT = 2**20
_CARRIED, _SMALL = 0.5, 0.04
_LEAST = 1e-16
LOGARITHMS: Integers = np.array(
    [round(UNIT * 4 * math.log(max(code, 0.25) / TOP)) for code in range(TOP + 1)], dtype=np.int64
)


def encode(likelihood: ArrayLike) -> bytes:
    """Return the codes of a likelihood or belief over states, shape (S,), of any scale.

    Raises
    ------
    ObservationError
        It is not a vector of finite, non-negative numbers of which one is positive.
    """
    values = np.asarray(likelihood, dtype=np.float64)
    if values.ndim != 1 or not np.isfinite(values).all() or (values < 0).any() or not (values > 0).any():
        raise ObservationError(f"likelihood: found {values}, expected finite numbers of 0 or more")
    codes = np.rint(TOP * (values / values.max()) ** 0.25)
    return bytes(codes.astype(np.uint8))


class Encoder:
    """Encodes the likelihoods of one source, tick by tick, and makes rounding errors cancel.

    Sensors repeat themselves, and so would their rounding errors: over the memory of a filter they add up.
    Half of each error, as far as it is small, is put back into the next likelihood (noise shaping, as in
    delta-sigma converters); it never leaves the sender.
    """

    def __init__(self) -> None:
        self._owed: Floats | None = None

    def encode(self, likelihood: ArrayLike) -> bytes:
        """Return the codes of the next likelihood, shape (S,); errors as `encode`."""
        values = np.asarray(likelihood, dtype=np.float64)
        if self._owed is not None and self._owed.shape == values.shape:
            values = values * np.exp(self._owed)
        codes = encode(values)
        with np.errstate(divide="ignore"):
            missing = np.log(values / values.max()) - logarithms(codes) / UNIT
        self._owed = _CARRIED * np.clip(missing, -_SMALL, _SMALL)
        return codes


def logarithms(codes: bytes) -> Integers:
    """Return the log-likelihood in units of 2^-20 nats relative to the largest, shape (S,)."""
    return LOGARITHMS[np.frombuffer(codes, np.uint8)]


def likelihood(sums: Integers) -> Floats:
    """Return the likelihood that summed logarithms stand for, the largest 1; shape (..., S)."""
    relative = sums - sums.max(axis=-1, keepdims=True)
    decoded: Floats = np.exp(relative / UNIT)
    return decoded


def belief(codes: bytes) -> Floats:
    """Return the distribution over states that codes stand for, shape (S,)."""
    values = (np.frombuffer(codes, np.uint8) / TOP) ** 4.0
    normalised: Floats = values / values.sum()
    return normalised


def divergence(p: Floats, q: Floats) -> float:
    """Return the Kullback-Leibler divergence D(p || q) of two distributions over states, nats.

    Probabilities count as 1e-16 at least: 8 bits reach down to 2e-10.
    """
    floored = np.log(np.maximum(p, _LEAST)) - np.log(np.maximum(q, _LEAST))
    return float(np.sum(p * floored))
