"""The newest observation of each agent and modality, its arrival time, and the agents with new observations.

Theory of operation. Bins lie in an int16 column (N, M), beside the time at which each arrived. For a step
they are copied to a scratch column in which those older than their modality's ``stale_s`` count as not
observed; those that hold for one step only are then gone. An agent is fresh from when it was heard from (or
something changed, if the population steps on change) until its actions are out, and silent when all of its
modalities that somebody feeds are stale. Where observations may be distributions, those lie in a column of
their own beside the bins that stand for them (`runtime.population.spread`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from edge_agent.config.records import PopulationConfig
from edge_agent.memory.arena import Column
from edge_agent.runtime.population.binding import Binding, Wake
from edge_agent.runtime.population.spread import Distributions, Spread, SpreadTable

NEVER = -1e18
BULK_STALE_S = 300.0
"""Of modalities that no ``observe`` entry names."""


class Observations:
    """The observations of one population.

    Parameters
    ----------
    config : PopulationConfig
        When what it observes is stale.
    binding : Binding
        Its modalities.
    arrays : mapping of str to ndarray
        The arena's arrays for `columns`.
    """

    def __init__(
        self, config: PopulationConfig, binding: Binding, arrays: Mapping[str, NDArray[Any]]
    ) -> None:
        self._binding = binding
        self._codes = arrays["observations"]
        self._scratch = arrays["observed"]
        self._arrived = arrays["arrived"]
        self._fresh = arrays["fresh"]
        self._codes[:] = binding.missing
        self._arrived[:] = NEVER
        self._spread = SpreadTable(config, binding, arrays["spread"]) if "spread" in arrays else None
        self._on_change = config.step == "change"
        self._stale_s = np.full(len(binding.modalities), BULK_STALE_S)
        self._once: list[int] = []
        self._fed: list[int] = []
        for number, entry in enumerate(config.observe):
            column = binding.modality(entry.modality, f"population {config.name}: observe[{number}].modality")
            self._stale_s[column] = entry.stale_s
            self._fed.append(column)
            if not entry.hold:
                self._once.append(column)
        if config.bulk and not self._fed:
            self._fed = list(range(len(binding.modalities)))

    @staticmethod
    def columns(size: int, modalities: int, dtype: DTypeLike) -> tuple[Column, ...]:
        """Return what it needs of the arena."""
        return (
            Column("observations", (size, modalities), dtype),
            Column("observed", (size, modalities), dtype),
            Column("arrived", (size, modalities), np.float64),
            Column("fresh", (size,), np.bool_),
        )

    def set(
        self,
        where: int | slice,
        column: int,
        said: float | Spread,
        arrived: float,
        wake: Wake = Wake.ARRIVAL,
    ) -> None:
        """Take in what one agent, or a slice of them, observes in one modality."""
        code, weights = said if isinstance(said, Spread) else (said, None)
        if wake is Wake.NEVER:
            pass
        elif self._on_change or wake is Wake.CHANGE:
            self._fresh[where] |= self._codes[where, column] != code
        else:
            self._fresh[where] = True
        self._codes[where, column] = code
        self._arrived[where, column] = arrived
        if self._spread is not None:
            self._spread.set(where, column, weights)

    def lose(self, where: int | slice, column: int) -> None:
        """Discard a modality's observation of one agent, or of a slice of them, until the next reading."""
        self._codes[where, column] = self._binding.missing
        self._arrived[where, column] = NEVER

    def set_all(self, codes: NDArray[Any], arrived: float) -> int:
        """Take in bins (N, M), return how many; what is not observed leaves what was."""
        known = self._binding.observed(codes)
        changed = known & (codes != self._codes) if self._on_change else known
        self._fresh |= changed.any(axis=1)
        np.copyto(self._codes, codes, where=known)
        self._arrived[known] = arrived
        if self._spread is not None:
            self._spread.clear(known)
        return int(np.count_nonzero(known))

    @property
    def any_fresh(self) -> bool:
        """Whether an agent was heard from since its last step."""
        return bool(self._fresh.any())

    def fresh(self) -> NDArray[np.intp]:
        """Return the agents that were heard from since their last step."""
        return np.flatnonzero(self._fresh)

    def discard_fresh(self) -> None:
        """Discard which agents have new observations."""
        self._fresh[:] = False

    def collect(self, agents: NDArray[np.intp] | None, now: float) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Return what ``agents`` (None: all) observe for a step (n, M), and which of them are silent (n,)."""
        codes = self._codes if agents is None else self._codes[agents]
        arrived = self._arrived if agents is None else self._arrived[agents]
        observed = self._scratch[: len(codes)]
        np.copyto(observed, codes)
        observed[arrived < now - self._stale_s] = self._binding.missing
        for column in self._once:
            self._codes[slice(None) if agents is None else agents, column] = self._binding.missing
        return observed, self._silence(arrived, now)

    def distributions(self, agents: NDArray[np.intp] | None, observed: NDArray[Any]) -> Distributions | None:
        """Return the distributions behind the bins that `collect` gave for ``agents``; None if there are
        none.
        """
        return None if self._spread is None else self._spread.of(agents, observed)

    def answered(self, agents: NDArray[np.intp]) -> NDArray[np.float64]:
        """Take it that actions of ``agents`` are out; return when the fresh ones were heard from (n,)."""
        heard = agents[self._fresh[agents]]
        self._fresh[heard] = False
        times = np.asarray(self._arrived[heard].max(axis=1))
        return times[times > NEVER]  # a discarded observation has no time

    def silent(self, now: float) -> NDArray[np.intp]:
        """Return the agents that heard nothing at all for too long."""
        return np.flatnonzero(self._silence(self._arrived, now))

    def latest(self, agent: int) -> list[str]:
        """Return what an agent observes now, for people."""
        row = self._codes[agent].tolist()
        return [m.text(code) for m, code in zip(self._binding.modalities, row, strict=True)]

    def _silence(self, arrived: NDArray[np.float64], now: float) -> NDArray[np.bool_]:
        if not self._fed:
            return np.zeros(len(arrived), np.bool_)
        late = arrived[:, self._fed] < now - self._stale_s[self._fed]
        return np.asarray(late.all(axis=1))
