"""Assembles the room's POMDP from the learned parameters: arrays in pymdp's form, written to an npz file.

Two hidden factors. ``room`` is the pair (occupancy, air), occupancy major: one factor, since a factorised
posterior would lose what a rise in CO2 tells about people. ``fan`` is the level set last. One control, the
ventilation, moves both: the policies are those in which both factors take the same level, so an action reads
(level, level).

Six modalities. CO2, light, temperature and humidity are sensors; ``ventilation`` is the level the fan
reports. ``comfort`` is people's judgement of the air: it is never observed (-1)
and has the preference. Without people it is always "content", so air is only fresh for someone; with
people it is "dissatisfied" above ``LIMIT_PPM`` for certain, else with the probability of CR 1752 (CEN, 1998):
395 exp(-15.15 dC^-0.25) percent at dC ppm over outdoor air.

Preferences C are log-probabilities up to a constant: one unit is the fan at its high level for a tick, lower
levels cost their share of its power. The weight of comfort, a dissatisfied tick against ticks at high, was
chosen on the training days alone.

Learned from data: the sensors' A, B of the room with the fan off, D. Derived, since the office had no fan to
learn from: B at the other levels, by the mass balance at leakage plus the fan's air changes.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from air import AIR_CHANGES, FAN_WATTS, LIMIT_PPM, OUTDOOR_PPM, VENTILATION
from learn import OCCUPANCY, SENSORS, Chain, air_transition
from readings import UNITS

FloatArray = NDArray[np.float64]

COMFORT = ("content", "dissatisfied")
DISSATISFIED_COST = 3.5
POLICY_LEN = 2
# How often the fan is found at some level whatever was sent: so its report is believed against the command.
LOST = 0.001
GAMMA = ALPHA = 16.0


def dissatisfied(co2: FloatArray) -> FloatArray:
    """Share of people dissatisfied with the air at ``co2`` ppm (CR 1752, CEN, 1998)."""
    excess = np.maximum(co2 - OUTDOOR_PPM, 1.0)
    return np.asarray(3.95 * np.exp(-15.15 * excess**-0.25))


def comfort_likelihood(bands: FloatArray) -> FloatArray:
    """P(comfort | room), float64 (2, K * L).

    Parameters
    ----------
    bands : float64 array (L - 1,)
        Edges of the air bands, ppm; ``LIMIT_PPM`` is one of them.
    """
    bounds = np.concatenate([[OUTDOOR_PPM], bands, [2.0 * bands[-1] - bands[-2]]])
    share = np.where(bounds[:-1] >= LIMIT_PPM, 1.0, dissatisfied((bounds[:-1] + bounds[1:]) / 2.0))
    by_occupancy = [np.zeros_like(share), *[share] * (len(OCCUPANCY) - 1)]
    unhappy = np.concatenate(by_occupancy)
    return np.stack([1.0 - unhappy, unhappy])


def build(
    chain: Chain, bands: FloatArray, edges: dict[str, FloatArray], leakage: float, hours: float
) -> dict[str, Any]:
    """Make the arrays of the model file.

    Parameters
    ----------
    chain : Chain
    bands : float64 array (L - 1,)
        Edges of the air bands, ppm.
    edges : dict
        Sensor to bin edges in its unit, ascending; a bin is ``searchsorted(edges, x, side="right")``.
    leakage : float
        Air changes per hour with the fan off.
    hours : float
        Length of a tick.

    Returns
    -------
    dict
        Key of the npz file to array.
    """
    K, L, U = len(OCCUPANCY), len(bands) + 1, len(VENTILATION)
    fan = np.eye(U)
    likelihoods = [_spread(chain, name, K, L) for name in SENSORS] + [fan, comfort_likelihood(bands)]
    costs = [np.zeros(len(a)) for a in likelihoods[:4]]
    costs += [FAN_WATTS / FAN_WATTS[-1], np.array([0.0, DISSATISFIED_COST])]

    aired = [
        air_transition(bands, chain.emission, chain.spread, leakage + extra, hours)
        for extra in AIR_CHANGES[1:]
    ]
    air = np.stack([chain.air, *aired], axis=-1)
    room = np.einsum("ki,jliu->kjilu", chain.occupancy, air).reshape(K * L, K * L, U)
    move = (1.0 - LOST) * np.repeat(fan[:, None, :], U, axis=1) + LOST / U
    pairs = [[(u, u) for u in levels] for levels in itertools.product(range(U), repeat=POLICY_LEN)]

    arrays: dict[str, Any] = {f"A_{i}": a for i, a in enumerate(likelihoods)}
    arrays |= {"B_0": room, "B_1": move}
    arrays |= {f"C_{i}": -cost for i, cost in enumerate(costs)}
    arrays |= {"D_0": chain.start.ravel(), "D_1": np.full(U, 1.0 / U)}
    arrays["policies"] = np.array(pairs, np.int64)
    arrays["A_deps"] = json.dumps([[0], [0], [0], [0], [1], [0]])
    arrays["B_deps"] = json.dumps([[0], [1]])
    arrays |= {"policy_len": np.int64(POLICY_LEN), "gamma": np.float64(GAMMA), "alpha": np.float64(ALPHA)}
    arrays["meta"] = json.dumps(_meta(bands, edges, leakage, hours), ensure_ascii=False)
    return arrays


def save(arrays: dict[str, Any], path: Path) -> None:
    """Write the npz file; equal arrays give an equal file."""
    np.savez(path, **arrays)


def load(path: Path) -> dict[str, Any]:
    """Read an npz file that ``save`` wrote; JSON entries come back parsed."""
    with np.load(path) as file:
        arrays: dict[str, Any] = {key: file[key] for key in file.files}
    for key in ("A_deps", "B_deps", "meta"):
        arrays[key] = json.loads(str(arrays[key]))
    return arrays


def _spread(chain: Chain, sensor: str, K: int, L: int) -> FloatArray:
    """Likelihood of a sensor over the joint states, float64 (O, K * L)."""
    table = chain.sensors[sensor]
    return np.tile(table, (1, K)) if sensor == "co2" else np.repeat(table, L, axis=1)


def _meta(bands: FloatArray, edges: dict[str, FloatArray], leakage: float, hours: float) -> dict[str, Any]:
    air = [f"under {bands[0]:g} ppm", *(f"{a:g} to {b:g} ppm" for a, b in itertools.pairwise(bands))]
    air.append(f"{bands[-1]:g} ppm and over")
    modalities = [{"name": name, "unit": UNITS[name], "edges": edges[name].tolist()} for name in SENSORS]
    modalities.append(
        {"name": "ventilation", "unit": "level", "edges": [0.5, 1.5], "labels": list(VENTILATION)}
    )
    modalities.append({"name": "comfort", "unit": "level", "edges": [0.5], "labels": list(COMFORT)})
    control = {"name": "ventilation", "values": list(VENTILATION)}
    return {
        "modalities": modalities,
        "factors": [
            {"name": "room", "states": [f"{who}, {band}" for who in OCCUPANCY for band in air]},
            {"name": "fan", "states": list(VENTILATION)},
        ],
        "controls": [control, control],
        "tick_seconds": round(hours * 3600.0),
        "leakage_per_hour": leakage,
    }
