"""The newest reading of each agent and modality, when it was made, and the agents with new readings.

Theory of operation. Bins lie in an int16 column (N, M), beside the time at which each reading was made: its
stamp if it has one, else its arrival. Of several readings of a tick the newest by that time stands for the
tick; of two with the same stamp the larger bin. With ``reduce`` it is their mean or the largest
(`runtime.population.tick_readings`). A reading counts once: in the decisions of its tick and in the step that
closes it. After that it counts as not observed, or, where silence means "unchanged", again in each tick until
it is older than ``stale_s``. A stamped reading of a tick that is closed is late and counts in no tick. An
agent is fresh from when it was heard from (or something changed, if the population steps on change) until its
actions are out, and silent when all of its modalities that somebody feeds are stale. Where observations may
be distributions, those lie in a column of their own beside the bins that stand for them
(`runtime.population.spread`).
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from edge_agent.config.records import PopulationConfig
from edge_agent.engine.binding import Binding
from edge_agent.memory.arena import Column
from edge_agent.runtime.population.spread import Distributions, Spread, SpreadTable
from edge_agent.runtime.population.tick_readings import TickReadings

NEVER = -1e18
BULK_STALE_S = 300.0
"""Of modalities that no ``observe`` entry names."""


class Wake(enum.Enum):
    """When a reading is an arrival."""

    NEVER = "never"
    CHANGE = "change"
    ARRIVAL = "arrival"


def reductions(config: PopulationConfig) -> dict[str, Literal["mean", "max"]]:
    """Return the modalities of whose readings the mean or the largest stands for a tick."""
    return {entry.modality: entry.reduce for entry in config.observe if entry.reduce != "last"}


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
        self._made = arrays["made"]
        self._counted = arrays["counted"]
        self._fresh = arrays["fresh"]
        self._any_fresh: bool | None = None
        """Whether an agent is fresh; None: the column has to be looked through."""
        self._codes[:] = binding.missing
        self._made[:] = NEVER
        self.closed = NEVER
        """The end of the last closed tick, monotonic seconds."""
        self.late = 0
        """Readings of closed ticks, since the start."""
        self._spread = SpreadTable(config, binding, arrays["spread"]) if "spread" in arrays else None
        self._on_change = config.step == "change"
        self._unchanged = np.full(len(binding.modalities), binding.dtype is np.float32)
        self._fed: list[int] = []
        for number, entry in enumerate(config.observe):
            column = binding.modality(entry.modality, f"population {config.name}: observe[{number}].modality")
            self._fed.append(column)
            if entry.silence is not None:
                self._unchanged[column] = entry.silence == "unchanged"
        self._reduced: dict[int, TickReadings] = {}
        for place, (name, reduce) in enumerate(reductions(config).items()):
            column = binding.modality(name, f"population {config.name}: observe")
            numbers, made = arrays["tick_numbers"][place], arrays["tick_made"][place]
            self._reduced[column] = TickReadings(reduce, binding.modalities[column], numbers, made)
        if config.bulk and not self._fed:
            self._fed = list(range(len(binding.modalities)))
        self.configure(config)
        self._all_fed = self._fed == list(range(len(binding.modalities)))
        self._stands = bool(self._unchanged.any())

    def configure(self, config: PopulationConfig) -> None:
        """Take over from ``config`` when readings are stale."""
        self._stale_s = np.full(len(self._binding.modalities), BULK_STALE_S)
        for number, entry in enumerate(config.observe):
            key = f"population {config.name}: observe[{number}].modality"
            self._stale_s[self._binding.modality(entry.modality, key)] = entry.stale_s
        self._fed_stale_s = self._stale_s[self._fed]

    @staticmethod
    def columns(config: PopulationConfig, size: int, modalities: int, dtype: DTypeLike) -> tuple[Column, ...]:
        """Return what it needs of the arena."""
        return (
            Column("observations", (size, modalities), dtype),
            Column("observed", (size, modalities), dtype),
            Column("made", (size, modalities), np.float64),
            Column("counted", (size, modalities), np.bool_),
            Column("fresh", (size,), np.bool_),
            *TickReadings.columns(size, len(reductions(config))),
        )

    def set(
        self,
        where: int | slice,
        column: int,
        said: float | Spread,
        arrived: float,
        wake: Wake = Wake.ARRIVAL,
        number: float | None = None,
    ) -> None:
        """Take in what one agent, or a slice of them, observes in one modality.

        ``number`` is the reading in the modality's unit, if it is reduced with others of the tick.
        """
        if number is not None:
            self._reduced[column].add(self._rows(where), number, arrived, stamped=False)
        code, weights = said if isinstance(said, Spread) else (said, None)
        if wake is Wake.NEVER:
            pass
        elif self._on_change or wake is Wake.CHANGE:
            self._fresh[where] |= self._codes[where, column] != code
            self._any_fresh = None
        else:
            self._fresh[where] = True
            self._any_fresh = True
        self._codes[where, column] = code
        self._made[where, column] = arrived
        self._counted[where, column] = False
        if self._spread is not None:
            self._spread.set(where, column, weights)

    def set_stamped(
        self,
        where: int | slice,
        column: int,
        said: float | Spread,
        made: float,
        wake: Wake = Wake.ARRIVAL,
        number: float | None = None,
    ) -> None:
        """Take in a reading that was made at ``made``, unless there is a newer one; ``number`` as `set`."""
        code = said.code if isinstance(said, Spread) else said
        rows, late = self._rows(where), made <= self.closed
        if number is not None and not late:
            news = self._reduced[column].add(rows, number, made, stamped=True)
            if wake is Wake.ARRIVAL and not self._on_change:
                self._fresh[rows] |= news
                self._any_fresh = None
        before, known = self._made[rows, column], self._codes[rows, column]
        rows = rows[(made > before) | ((made == before) & (code > known))]
        self.late += len(rows) if late else 0
        for row in rows.tolist():
            self.set(row, column, said, made, Wake.NEVER if late else wake)
            self._counted[row, column] = late

    def lose(self, where: int | slice, column: int) -> None:
        """Discard a modality's observation of one agent, or of a slice of them, until the next reading."""
        self._codes[where, column] = self._binding.missing
        self._made[where, column] = NEVER
        if column in self._reduced:
            self._reduced[column].discard(where)

    def set_all(self, codes: NDArray[Any], arrived: float) -> int:
        """Take in bins (N, M), return how many; what is not observed leaves what was."""
        known = self._binding.observed(codes)
        changed = known & (codes != self._codes) if self._on_change else known
        self._fresh |= changed.any(axis=1)
        self._any_fresh = None
        np.copyto(self._codes, codes, where=known)
        self._made[known] = arrived
        self._counted[known] = False
        for column, readings in self._reduced.items():
            readings.discard(known[:, column])
        if self._spread is not None:
            self._spread.clear(known)
        return int(np.count_nonzero(known))

    @property
    def any_fresh(self) -> bool:
        """Whether an agent was heard from since its last step."""
        if self._any_fresh is None:
            self._any_fresh = bool(self._fresh.any())
        return self._any_fresh

    def fresh(self) -> NDArray[np.intp]:
        """Return the agents that were heard from since their last step."""
        return self._fresh.nonzero()[0]

    def discard_fresh(self) -> None:
        """Discard which agents have new observations."""
        self._fresh[:] = False
        self._any_fresh = False

    def collect(
        self, agents: NDArray[np.intp] | None, now: float, until: float = math.inf
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Return what counts now for ``agents`` (None: all) (n, M), and which of them are silent (n,).

        Readings made after ``until`` do not count yet.
        """
        rows = _rows(agents)
        made, absent = self._made[rows], self._counted[rows]
        observed = self._scratch[: len(made)]
        observed[:] = self._codes[rows]
        if self._stands:
            absent = absent & ~(self._unchanged & (made >= now - self._stale_s))
        if until < math.inf:
            absent = absent | (made > until)
        observed[absent] = self._binding.missing
        for column, readings in self._reduced.items():
            has, reduced = readings.reduced(rows, until)
            observed[has, column] = reduced
        return observed, self._silence(made, now)

    def close(self, agents: NDArray[np.intp] | None, until: float) -> None:
        """End the tick of ``agents`` (None: all): their readings made up to ``until`` have counted."""
        rows = _rows(agents)
        self._counted[rows] |= self._made[rows] <= until
        for readings in self._reduced.values():
            readings.close(rows, until)

    def distributions(self, agents: NDArray[np.intp] | None, observed: NDArray[Any]) -> Distributions | None:
        """Return the distributions behind the bins that `collect` gave for ``agents``; None if there are
        none.
        """
        return None if self._spread is None else self._spread.of(agents, observed)

    def answered(self, agents: NDArray[np.intp]) -> NDArray[np.float64]:
        """Take it that actions of ``agents`` are out; return when the fresh ones were heard from (n,)."""
        heard = agents[self._fresh[agents]]
        self._fresh[heard] = False
        self._any_fresh = None
        made = self._made[heard]
        times = made[:, 0] if made.shape[1] == 1 else np.asarray(made.max(axis=1))
        return times[times > NEVER]  # a discarded observation has no time

    def heard(self, agent: int) -> float | None:
        """Return the time of an agent's newest reading, monotonic seconds; None if it has answered it."""
        made = float(self._made[agent].max())
        return made if self._fresh[agent] and made > NEVER else None

    def silent(self, now: float) -> NDArray[np.intp]:
        """Return the agents that heard nothing at all for too long."""
        return np.flatnonzero(self._silence(self._made, now))

    def standing(self, column: int, agents: NDArray[np.intp], now: float) -> NDArray[np.float32]:
        """Return the newest bins (or a network's numbers) of one modality (n,); NaN: none, or it is stale."""
        codes = self._codes[agents, column]
        known = self._binding.observed(codes) & (self._made[agents, column] >= now - self._stale_s[column])
        return np.where(known, codes, math.nan).astype(np.float32)

    def latest(self, agent: int) -> list[str]:
        """Return what an agent observes now, for people."""
        row = self._codes[agent].tolist()
        return [m.text(code) for m, code in zip(self._binding.modalities, row, strict=True)]

    def _rows(self, where: int | slice) -> NDArray[np.intp]:
        return np.arange(len(self._fresh))[where].reshape(-1)

    def _silence(self, made: NDArray[np.float64], now: float) -> NDArray[np.bool_]:
        if not self._fed:
            return np.zeros(len(made), np.bool_)
        heard = made if self._all_fed else made[:, self._fed]
        stale = heard < now - self._fed_stale_s
        return stale[:, 0] if len(self._fed) == 1 else np.asarray(stale.all(axis=1))


def _rows(agents: NDArray[np.intp] | None) -> slice | NDArray[np.intp]:
    """Return what selects the rows of ``agents`` (None: all): of all and of one, a view."""
    if agents is None:
        return slice(None)
    return slice(int(agents[0]), int(agents[0]) + 1) if agents.size == 1 else agents
