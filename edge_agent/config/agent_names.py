"""Names of agents: a list, or a pattern that is formatted on demand (10,000 names would be 700 KB)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edge_agent.config.records import PopulationConfig


class AgentNames:
    """The names of one population's agents, by number.

    Parameters
    ----------
    names : sequence of str or str
        All names, or a pattern with {index} and {population}.
    size : int
        Number of agents.
    population : str
        Name of the population.
    """

    def __init__(self, names: Sequence[str] | str, size: int, population: str) -> None:
        self._pattern = names if isinstance(names, str) else None
        self._names = () if isinstance(names, str) else tuple(names)
        self._size = size
        self._population = population

    @classmethod
    def of(cls, config: PopulationConfig) -> AgentNames:
        """Return the names that ``config`` gives."""
        size = config.size or len(config.agents)
        return cls(config.agents, size, config.name)

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: int) -> str:
        if not 0 <= index < self._size:
            raise IndexError(index)
        if self._pattern is None:
            return self._names[index]
        return self._pattern.format(index=index, population=self._population)

    def __iter__(self) -> Iterator[str]:
        return (self[index] for index in range(self._size))

    def find(self, name: str) -> int | None:
        """Return the number of agent ``name``, which may be given as its number; None if there is none."""
        for index, candidate in enumerate(self):
            if candidate == name:
                return index
        return int(name) if name.isdecimal() and int(name) < self._size else None
