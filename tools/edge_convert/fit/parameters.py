"""What is estimated: A, B and D of the template's factors, from expected counts and priors.

Every count starts from a Dirichlet prior, which decides where there are no readings: a sensor mostly reads
its own band, a factor mostly stays where it is, and a quantity with a balance follows it. Estimates are
posterior means.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_agent.engine.binding import Modality
from edge_agent.errors import ConfigError
from edge_convert.fit import balance as balances
from edge_convert.fit.bins import BinnedSegment
from edge_convert.fit.layout import Layout
from edge_convert.fit.template import BalanceTemplate, FactorTemplate, ModalityTemplate, Template

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass
class Source:
    """The source of a balance as it is estimated.

    Attributes
    ----------
    rate : float
        Exchange without a control, per hour.
    rates : float64 (U,)
        Exchange at each action, per hour.
    mean, spread : float64 (K,)
        Of each state's source, in the unit per hour.
    """

    rate: float
    rates: FloatArray
    mean: FloatArray
    spread: FloatArray


@dataclass
class Parameters:
    """What is estimated.

    Attributes
    ----------
    likelihoods : list of float64 [O, *sizes of the factors seen]
    transitions : list of float64 [K, K, *sizes of other parents, U]
    starts : list of float64 (S,)
        Of each component's joint states.
    sources : dict of int to Source
        Factor to its balance.
    """

    likelihoods: list[FloatArray]
    transitions: list[FloatArray]
    starts: list[FloatArray]
    sources: dict[int, Source]


@dataclass
class Counts:
    """Expected counts, as ``Parameters``; ``moments`` are weights, sums and squares of a source (3, K)."""

    likelihoods: list[FloatArray]
    transitions: list[FloatArray]
    starts: list[FloatArray]
    moments: dict[int, FloatArray]


class Estimator:
    """Turns expected counts into parameters.

    Parameters
    ----------
    template : Template
    plan : Layout
    modalities : sequence of Modality
        The model's, with their bins.
    segments : sequence of BinnedSegment
        Training readings.
    where : str
        The template's path, for messages.
    """

    def __init__(
        self,
        template: Template,
        plan: Layout,
        modalities: Sequence[Modality],
        segments: Sequence[BinnedSegment],
        where: str,
    ) -> None:
        self.template, self.plan, self.modalities = template, plan, modalities
        self.hours = template.tick_seconds / 3600.0
        self._names = [modality.name for modality in template.modality]
        self._fixed = [
            None if entry.likelihood == "learned" else _given(entry, modality, template, plan, m, where)
            for m, (entry, modality) in enumerate(zip(template.modality, modalities, strict=True))
        ]
        self._spreads = [self._prior_of_readings(m) for m in range(len(modalities))]
        self.sources: dict[int, Source] = {}
        self.steps: dict[int, list[FloatArray]] = {}
        """For each factor with a balance the source of every step of the segments, (T - 1,)."""
        for f, factor in enumerate(template.factor):
            if factor.balance is not None:
                self._open_balance(f, factor, factor.balance, segments)

    def learned(self, component: Sequence[int], modalities: Sequence[int]) -> bool:
        """Whether readings can change anything in a component."""
        return any(self._fixed[m] is None for m in modalities) or any(
            self.template.factor[f].follows is None for f in component
        )

    def zero_counts(self) -> Counts:
        """Return counts of nothing."""
        plan = self.plan
        return Counts(
            [np.zeros((m.size, *plan.sizes(plan.sees[n]))) for n, m in enumerate(self.modalities)],
            [
                np.zeros((*plan.sizes((f, *factor.parents)), plan.moves(factor)))
                for f, factor in enumerate(plan.factors)
            ],
            [np.zeros(int(np.prod(plan.sizes(component.factors)))) for component in plan.components],
            {f: np.zeros((3, len(source.mean))) for f, source in self.sources.items()},
        )

    def band_of_bin(self, f: int) -> IntArray:
        """Return the band of factor ``f`` in which each bin of its modality lies."""
        factor = self.template.factor[f]
        edges = self.modalities[self._names.index(factor.of)].edges
        return np.searchsorted(np.array(factor.bands), [-np.inf, *edges], side="right").astype(np.int64)

    def estimate(self, counts: Counts) -> Parameters:
        """Return the posterior means."""
        sources = {f: self._source(f, moments) for f, moments in counts.moments.items()}
        return Parameters(
            [self._likelihood(m, found) for m, found in enumerate(counts.likelihoods)],
            [self._transition(f, found, sources.get(f)) for f, found in enumerate(counts.transitions)],
            [
                found / found.sum() if found.sum() > 0 else np.full(len(found), 1.0 / len(found))
                for found in counts.starts
            ],
            sources,
        )

    def _likelihood(self, m: int, counts: FloatArray) -> FloatArray:
        fixed = self._fixed[m]
        if fixed is not None:
            return fixed
        entry = self.template.modality[m]
        if entry.alike:
            states = self.template.states(self.template.factor_named(entry.sees[0]))
            counts = counts.copy()
            for group in entry.alike:
                columns = [states.index(state) for state in group]
                counts[:, columns] = counts[:, columns].sum(axis=1, keepdims=True)
        return columns_of(counts + self._spreads[m])

    def _prior_of_readings(self, m: int) -> FloatArray:
        entry, size = self.template.modality[m], self.modalities[m].size
        prior = np.full((size, *self.plan.sizes(self.plan.sees[m])), entry.count / size)
        for axis, f in enumerate(self.plan.sees[m], start=1):
            if self.template.factor[f].of == entry.name:
                bands = self.band_of_bin(f)
                inside = (bands[:, None] == np.arange(self.plan.factors[f].size)).astype(float)
                inside /= np.maximum(inside.sum(axis=0), 1.0)
                shape = [
                    size if n == 0 else self.plan.factors[f].size if n == axis else 1
                    for n in range(prior.ndim)
                ]
                prior = prior + entry.band_count * inside.reshape(shape)
        return prior

    def _transition(self, f: int, counts: FloatArray, source: Source | None) -> FloatArray:
        factor = self.template.factor[f]
        size = len(counts)
        if factor.follows is not None:
            lost = (1.0 - factor.follows) / size
            table = factor.follows * np.eye(size) + lost
            return np.repeat(table[:, None, :], size, axis=1)
        if source is not None and factor.balance is not None:
            prior = np.stack(
                [
                    balances.band_transition(
                        np.array(factor.bands),
                        factor.balance.outside,
                        source.mean,
                        source.spread,
                        rate,
                        self.hours,
                        factor.balance.noise,
                    )
                    for rate in source.rates
                ],
                axis=-1,
            )
            return columns_of(counts + factor.balance.count * prior)
        stay = factor.stay * np.eye(size) + factor.move
        return columns_of(counts + stay.reshape(size, size, *[1] * (counts.ndim - 2)))

    def _open_balance(
        self, f: int, factor: FactorTemplate, balance: BalanceTemplate, segments: Sequence[BinnedSegment]
    ) -> None:
        control = self.plan.factors[f].control
        rates = np.zeros(1)
        if control is not None:
            values = self.template.control[control].values
            rates = np.array([balance.rates[value] for value in values])
        added = [rates[s.actions[:, control]] if control is not None else np.zeros(len(s)) for s in segments]
        column = self._names.index(factor.of)
        idle = None if balance.idle is None else self._names.index(balance.idle.modality)
        rate = balances.base_rate(balance, segments, column, idle, added, self.hours)
        states = self.template.states(self.template.factor_named(balance.source))
        mean = np.array([balance.emission[state] for state in states])
        self.sources[f] = Source(rate, rate + rates, mean, balance.spread * mean)
        self.steps[f] = [
            balances.sources(s.values[:, column], rate + extra, balance.outside, self.hours)
            for s, extra in zip(segments, added, strict=True)
        ]

    def _source(self, f: int, moments: FloatArray) -> Source:
        """Posterior mean and spread of each state's source; the prior weighs ``source_count`` ticks."""
        first, balance = self.sources[f], self.template.factor[f].balance
        count = 0.0 if balance is None else balance.source_count
        weight, sums, squares = moments
        total = weight + count
        mean = (sums + count * first.mean) / total
        deviations = squares - 2.0 * mean * sums + mean**2 * weight
        spread = np.sqrt((np.maximum(deviations, 0.0) + count * first.spread**2) / total)
        return Source(first.rate, first.rates, mean, spread)


def columns_of(counts: FloatArray) -> FloatArray:
    """Return counts with the first axis scaled to sum to 1."""
    return np.asarray(counts / counts.sum(axis=0))


def _given(
    entry: ModalityTemplate, modality: Modality, template: Template, plan: Layout, m: int, where: str
) -> FloatArray:
    """Return a likelihood that the template gives, float64 [O, *sizes]."""
    sizes = plan.sizes(plan.sees[m])
    if not isinstance(entry.likelihood, dict):
        return np.eye(modality.size)
    key = f"{where}: modality[{m}].likelihood"
    names = modality.labels or tuple(str(n) for n in range(modality.size))
    table = np.zeros((modality.size, *sizes))
    for name, rows in entry.likelihood.items():
        if name not in names:
            raise ConfigError(f"{key}: found {name!r}, expected one of {', '.join(names)}")
        try:
            array = np.array(rows, np.float64)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{key}.{name}: expected numbers in lists") from error
        if array.shape != sizes or not ((array >= 0) & (array <= 1)).all():
            states = " x ".join(str(size) for size in sizes)
            raise ConfigError(f"{key}.{name}: found shape {array.shape}, expected {states} probabilities")
        table[names.index(name)] = array
    missing = [name for name in names if name not in entry.likelihood]
    if len(missing) > 1:
        raise ConfigError(f"{key}: {', '.join(missing)} are missing, expected one at most")
    rest = 1.0 - table.sum(axis=0)
    if missing:
        table[names.index(missing[0])] = rest
        if (rest < -1e-9).any():
            raise ConfigError(
                f"{key}: found probabilities that sum to more than 1, expected 1 for each state"
            )
    elif (np.abs(rest) > 1e-6).any():
        raise ConfigError(f"{key}: found probabilities that do not sum to 1, expected 1 for each state")
    return columns_of(np.maximum(table, 0.0))
