"""Observations that are distributions over a modality's outcomes: probabilities, or a reading with an
uncertainty.

Theory of operation. An observe entry with ``probabilities`` takes an array of them from the message; one with
``uncertainty`` spreads its reading, a normal distribution, over the modality's bins: bin ``o`` between the
edges ``e[o - 1]`` and ``e[o]`` gets Phi((e[o] - x) / s) - Phi((e[o - 1] - x) / s). Beside the distribution
there is one bin, the most probable one or that of the reading: it stands in the history, in explanations and
in the evidence of whether something changed. Only populations with such entries have a `SpreadTable`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_agent.config.records import ObserveConfig, PopulationConfig
from edge_agent.engine.binding import NOT_OBSERVED, Binding, Fault, Modality
from edge_agent.engine.population import Population
from edge_agent.errors import ConfigError
from edge_agent.memory.arena import Column
from edge_agent.runtime.population.population_port import PopulationPort

Distributions = Mapping[int, NDArray[np.float32]]
"""Modality to distributions over its outcomes (n, O); a row of zeros: the outcome itself counts."""
ROOT_2 = math.sqrt(2.0)


class Spread(NamedTuple):
    """A distribution over outcomes: the bin that stands for it, and the probabilities (O,)."""

    code: int
    weights: NDArray[np.float32]


class Uncertainty(NamedTuple):
    """What an observe entry says of it: whether the field is an array of probabilities, or the standard
    deviation of a number, as stated and where in the message (None: nowhere), in the number's own unit.
    """

    probabilities: bool
    deviation: float
    pointer: tuple[str, ...] | None


def of_probabilities(value: Any, modality: Modality) -> Spread | Fault:
    """Return the distribution in an array as JSON gives it; it need not be normalised."""
    if not isinstance(value, list) or len(value) != modality.size:
        return Fault.NOT_PROBABILITIES
    if not all(isinstance(p, int | float) and not isinstance(p, bool) for p in value):
        return Fault.NOT_PROBABILITIES
    try:
        weights = [float(p) for p in value]
    except OverflowError:
        return Fault.NOT_PROBABILITIES
    total = sum(weights)
    if not 0.0 < total < math.inf or min(weights) < 0.0:
        return Fault.NOT_PROBABILITIES
    return Spread(weights.index(max(weights)), np.array([w / total for w in weights], np.float32))


def of_reading(code: int, value: float, deviation: float, edges: Sequence[float]) -> Spread:
    """Return the normal distribution of a reading in bin ``code`` over the bins between ``edges``."""
    below = [0.5 * math.erfc((value - edge) / deviation / ROOT_2) for edge in edges]
    weights = np.maximum(np.diff([0.0, *below, 1.0]), 0.0)
    return Spread(code, (weights / weights.sum()).astype(np.float32))


def uncertainty(
    entry: ObserveConfig, modality: Modality, pointer: tuple[str, ...] | None, key: str, where: str
) -> Uncertainty | None:
    """Return what an entry at ``key`` of the configuration says; None: its readings are outcomes.

    Raises
    ------
    ConfigError
        The model of ``where`` cannot use it.
    """
    if not entry.spreads:
        return None
    name = next(n for n in ("probabilities", "uncertainty", "uncertainty_pointer") if getattr(entry, n))
    place = f"{key}.{name}: found {getattr(entry, name)!r}"
    if not modality.size:
        raise ConfigError(f"{place}, expected none: {where} is a network, which observes numbers")
    if not entry.probabilities and not modality.edges:
        raise ConfigError(f"{place}, expected edges of modality {modality.name} in the io of {where}")
    return Uncertainty(entry.probabilities, entry.uncertainty or 0.0, pointer)


class SpreadTable:
    """The distributions that agents observe now, beside the bins of `runtime.population.observations`.

    Parameters
    ----------
    config : PopulationConfig
        Which of its entries give distributions.
    binding : Binding
        Its modalities.
    weights : ndarray, float32 (N, outcomes of those modalities)
        The arena's array for `columns`.
    """

    def __init__(self, config: PopulationConfig, binding: Binding, weights: NDArray[np.float32]) -> None:
        self._weights = weights
        self._places: dict[int, slice] = {}
        stop = 0
        for column in _modalities(config, binding):
            start, stop = stop, stop + binding.modalities[column].size
            self._places[column] = slice(start, stop)

    @staticmethod
    def columns(config: PopulationConfig, binding: Binding, size: int) -> tuple[Column, ...]:
        """Return what it needs of the arena; nothing where no entry gives distributions."""
        width = sum(binding.modalities[column].size for column in _modalities(config, binding))
        return (Column("spread", (size, width), np.float32),) if width else ()

    def set(self, where: Any, column: int, weights: NDArray[np.float32] | None) -> None:
        """Take in the distribution of one modality of some agents; None: the bin is the observation."""
        place = self._places.get(column)
        if place is not None:
            self._weights[where, place] = 0.0 if weights is None else weights

    def clear(self, known: NDArray[np.bool_]) -> None:
        """Let bins be the observations where ``known`` (N, M)."""
        for column in self._places:
            self.set(known[:, column], column, None)

    def of(self, agents: NDArray[np.intp] | None, observed: NDArray[Any]) -> Distributions | None:
        """Return the distributions of ``agents`` (None: all) whose bins ``observed`` (n, M) count; None if
        there are none.
        """
        found = {}
        for column, place in self._places.items():
            weights = (self._weights if agents is None else self._weights[agents])[:, place]
            counts = observed[:, column] != NOT_OBSERVED
            if weights[counts].any():
                found[column] = np.where(counts[:, np.newaxis], weights, np.float32(0.0))
        return found or None


def _modalities(config: PopulationConfig, binding: Binding) -> list[int]:
    """Return the modalities whose observations may be distributions, each once."""
    keys = [(f"observe[{n}].modality", entry) for n, entry in enumerate(config.observe) if entry.spreads]
    return list(dict.fromkeys(binding.modality(entry.modality, key) for key, entry in keys))


def step(
    port: PopulationPort, observed: NDArray[Any], agents: NDArray[np.intp] | None, soft: Distributions | None
) -> NDArray[Any]:
    """Step ``agents`` (None: all) on bins (n, M), and on distributions where there are any."""
    if soft is None:
        return port.step(observed, agents)
    return np.asarray(_inferring(port).step_with(observed, agents, soft=soft))


def decide(
    port: PopulationPort, observed: NDArray[Any], agents: NDArray[np.intp], soft: Distributions | None
) -> NDArray[Any]:
    """Let ``agents`` decide within a tick; arguments as `step`."""
    if soft is None:
        return port.decide(observed, agents)
    return _inferring(port).decide(observed, agents, soft=soft)


def infer(port: PopulationPort, observed: NDArray[Any], soft: Distributions | None) -> None:
    """Let a tick pass in which all agents observed bins (N, M), or distributions where there are any."""
    if soft is None:
        port.infer(observed)
    else:
        _inferring(port).step_with(observed, soft=soft, act=False)


def _inferring(port: PopulationPort) -> Population:
    if not isinstance(port, Population):
        raise ConfigError("a network takes no distributions over outcomes")
    return port
