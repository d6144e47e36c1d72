"""Learns the hidden states of a room by expectation maximisation (Baum-Welch) from its readings.

The hidden state is the pair (occupancy, air). Occupancy follows a chain of its own; air, a band of CO2,
follows a chain that occupancy drives; CO2 is read through air, and light, temperature and humidity through
occupancy. The pair is filtered and smoothed as one joint chain, so that a rise in CO2 tells about the people:
exact, and small (3 x 7 states).

Every count starts from a Dirichlet prior, which determines the result where there are no readings. For air
the prior is the mass balance of ``air.py``: for each band it gives CO2 one tick later, with the estimated
emission of the occupancy. A band without readings therefore still has realistic transitions. The same
function gives the transitions at another air-change rate that does not occur in the readings.

Source: Rabiner, Proceedings of the IEEE 77 (1989) 257-286, scaled forward and backward passes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from air import OUTDOOR_PPM, VOLUME_M3, mix

OCCUPANCY = ("empty", "few", "full")
SENSORS = ("co2", "light", "temperature", "humidity")

ITERATIONS = 40
# Prior counts: a stay of some hours, a sensor that mostly reads its own band, one reading spread over the
# rest.
STAY_COUNT, MOVE_COUNT = 10.0, 0.5
AIR_COUNT = 10.0
BAND_COUNT = 20.0
READING_COUNT = 1.0
# Points within a band that its transitions are averaged over.
POINTS = 25
# A person emits about 20 l of CO2 an hour (EN 16798-1). Few are one or two people, full is four in this
# volume; the prior weighs as much as this many readings, and a room's emission varies by this share of its
# mean.
EMISSION = np.array([0.0, 1.5, 4.0]) * 20.0 / VOLUME_M3 * 1000.0
PEOPLE_COUNT = 20.0
EMISSION_SPREAD = 0.4
# Few and full light, warm and moisten the room alike: with so few days, a sensor told apart by them would
# learn which day it was. So the two share their columns, and only the rise of CO2 tells how many people there
# are.
SHARED = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0], [0.0, 1.0, 1.0]])

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass
class Chain:
    """What is learned. Columns (the first axis of A and B) sum to 1.

    Attributes
    ----------
    occupancy : float64 (K, K)
        P(next occupancy | occupancy).
    air : float64 (L, L, K)
        P(next air | air, occupancy), at the leakage rate.
    sensors : dict
        ``co2`` P(bin | air), float64 (O, L); the others P(bin | occupancy), float64 (O, K).
    start : float64 (K, L)
        P(occupancy, air) at the first reading.
    emission, spread : float64 (K,)
        Mean and standard deviation of each occupancy's CO2 source, ppm/h.
    """

    occupancy: FloatArray
    air: FloatArray
    sensors: dict[str, FloatArray]
    start: FloatArray
    emission: FloatArray
    spread: FloatArray


@dataclass(frozen=True)
class Binned:
    """Readings in bins, and what their bins mean.

    Attributes
    ----------
    bins : dict
        Sensor to int array (T,).
    sizes : dict
        Sensor to its number of bins.
    band_of_bin : int array (O_co2,)
        The air band that a CO2 bin lies in.
    bands : float64 array (L - 1,)
        Edges of the air bands, ppm.
    source : float64 array (T - 1,)
        Emission that explains each step, ppm/h (``air.explain``).
    leakage : float
        Air changes per hour while these readings were taken.
    hours : float
        From one reading to the next.
    """

    bins: dict[str, IntArray]
    sizes: dict[str, int]
    band_of_bin: IntArray
    bands: FloatArray
    source: FloatArray
    leakage: float
    hours: float


def air_transition(
    edges: FloatArray, emission: FloatArray, spread: FloatArray, rate: float, hours: float
) -> FloatArray:
    """Transitions between bands of CO2 by the mass balance.

    CO2 is taken as evenly spread within its band. The lowest band begins at outdoor air, the highest is as
    wide as its neighbour.

    Parameters
    ----------
    edges : float64 array (L - 1,)
        ppm, ascending.
    emission, spread : float64 array (K,)
        Mean and standard deviation of the source, ppm/h.
    rate : float
        Air changes per hour.

    Returns
    -------
    float64 array (L, L, K)
        P(next band | band, occupancy).
    """
    bounds = np.concatenate([[OUTDOOR_PPM], edges, [2.0 * edges[-1] - edges[-2]]])
    within = (np.arange(POINTS) + 0.5) / POINTS
    co2 = bounds[:-1, None] + within * np.diff(bounds)[:, None]
    reach = (1.0 - math.exp(-rate * hours)) / rate
    mean = mix(co2[..., None], emission, rate, hours)
    deviation = np.maximum(spread * reach, 5.0)
    below = _normal((edges[:, None, None, None] - mean) / deviation)
    cumulative = np.concatenate([np.zeros_like(below[:1]), below, np.ones_like(below[:1])])
    return np.asarray(np.diff(cumulative, axis=0).mean(axis=2))


def _normal(x: FloatArray) -> FloatArray:
    """Cumulative standard normal distribution, elementwise."""
    return np.asarray(0.5 * (1.0 + np.vectorize(math.erf)(x / math.sqrt(2.0))))


def forward(chain: Chain, bins: dict[str, IntArray]) -> tuple[FloatArray, FloatArray]:
    """Filter.

    Parameters
    ----------
    bins : dict
        Sensor to int array (T,).

    Returns
    -------
    beliefs : float64 (T, S)
        P(state | readings so far), S = occupancy x air, occupancy major.
    scale : float64 (T,)
        P(reading | readings before): the sum of logs is the log-likelihood.
    """
    evidence, transition = _evidence(chain, bins), _joint(chain)
    beliefs, scale = np.empty_like(evidence), np.empty(len(evidence))
    prior = chain.start.ravel()
    for t, likelihood in enumerate(evidence):
        joint = prior * likelihood
        scale[t] = joint.sum()
        beliefs[t] = joint / scale[t]
        prior = transition @ beliefs[t]
    return beliefs, scale


def log_likelihood(chain: Chain, bins: dict[str, IntArray]) -> float:
    """Mean natural log-likelihood of a reading (all four sensors), in nats."""
    return float(np.log(forward(chain, bins)[1]).mean())


def fit(readings: Binned, first: IntArray) -> tuple[Chain, list[float]]:
    """Run expectation maximisation.

    Parameters
    ----------
    readings : Binned
    first : int array (T,)
        Occupancy to begin from.

    Returns
    -------
    Chain
    list of float
        Mean log-likelihood of a reading before each iteration.
    """
    K, L, T = len(OCCUPANCY), len(readings.bands) + 1, len(first)
    smooth = np.full((T, K, L), 1e-3)
    smooth[np.arange(T), first, readings.band_of_bin[readings.bins["co2"]]] = 1.0
    smooth /= smooth.sum(axis=(1, 2), keepdims=True)
    pairs = np.einsum("tij,tkl->ijkl", smooth[1:], smooth[:-1])
    course = []
    for _ in range(ITERATIONS):
        chain = _maximise(readings, smooth, pairs)
        smooth, pairs, likelihood = _expect(chain, readings.bins)
        course.append(likelihood)
    return chain, course


def _maximise(readings: Binned, smooth: FloatArray, pairs: FloatArray) -> Chain:
    """Posterior means of all parameters, given expected counts."""
    source = readings.source
    who = smooth.sum(axis=2)
    weight = who[:-1]
    total = weight.sum(axis=0) + PEOPLE_COUNT
    emission = (weight.T @ source + PEOPLE_COUNT * EMISSION) / total
    squares = (weight * (source[:, None] - emission) ** 2).sum(axis=0)
    spread = np.sqrt((squares + PEOPLE_COUNT * (EMISSION_SPREAD * EMISSION) ** 2) / total)
    occupancy = pairs.sum(axis=(1, 3)) + MOVE_COUNT + STAY_COUNT * np.eye(who.shape[1])
    physics = air_transition(readings.bands, emission, spread, readings.leakage, readings.hours)
    air = pairs.sum(axis=0).transpose(0, 2, 1) + AIR_COUNT * physics
    inside = (readings.band_of_bin[:, None] == np.arange(smooth.shape[2])).astype(float)
    priors = {"co2": BAND_COUNT * inside / inside.sum(axis=0) + READING_COUNT / len(inside)}
    sensors = {}
    for name in SENSORS:
        seen = np.eye(readings.sizes[name])[readings.bins[name]]
        counts = seen.T @ (smooth.sum(axis=1) if name == "co2" else who @ SHARED)
        sensors[name] = _columns(counts + priors.get(name, READING_COUNT / readings.sizes[name]))
    start = smooth.mean(axis=0)
    return Chain(_columns(occupancy), _columns(air), sensors, start / start.sum(), emission, spread)


def _expect(chain: Chain, bins: dict[str, IntArray]) -> tuple[FloatArray, FloatArray, float]:
    """Smoothed beliefs (T, K, L), expected transitions (K', L', K, L) and the mean log-likelihood."""
    shape = chain.start.shape
    beliefs, scale = forward(chain, bins)
    evidence, transition = _evidence(chain, bins), _joint(chain)
    future, smooth = np.ones(beliefs.shape[1]), beliefs.copy()
    pairs = np.zeros_like(transition)
    for t in range(len(beliefs) - 2, -1, -1):
        message = evidence[t + 1] * future / scale[t + 1]
        pairs += transition * np.outer(message, beliefs[t])
        future = message @ transition
        smooth[t] = beliefs[t] * future
    return smooth.reshape(-1, *shape), pairs.reshape(*shape, *shape), float(np.log(scale).mean())


def _evidence(chain: Chain, bins: dict[str, IntArray]) -> FloatArray:
    """P(reading | state), float64 (T, S)."""
    by_air = chain.sensors["co2"][bins["co2"]]
    by_occupancy = np.prod([chain.sensors[name][bins[name]] for name in SENSORS if name != "co2"], axis=0)
    return np.asarray((by_occupancy[:, :, None] * by_air[:, None, :]).reshape(len(by_air), -1))


def _joint(chain: Chain) -> FloatArray:
    """P(next state | state), float64 (S, S)."""
    K, L = chain.start.shape
    return np.asarray(np.einsum("ki,jli->kjil", chain.occupancy, chain.air).reshape(K * L, K * L))


def _columns(counts: FloatArray) -> FloatArray:
    return np.asarray(counts / counts.sum(axis=0))
