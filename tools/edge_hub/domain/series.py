"""Names of series: ``rss``, ``health/FIGURE``, ``POPULATION/COUNTER``, and ``POPULATION/AGENT/KIND/NAME``.

Populations and agents are topic levels, so neither has a slash in its name; that of a modality or a state
may.
"""

from __future__ import annotations

from typing import NamedTuple

HEALTH = "health"
KINDS = frozenset({"reading", "belief", "action", "figure"})


class OfAgent(NamedTuple):
    """A series of an agent; ``name`` is KIND/NAME."""

    population: str
    agent: str
    name: str


def of_agent(series: str) -> OfAgent | None:
    """Return a series name taken apart if it is one of an agent."""
    parts = series.split("/", 3)
    if len(parts) == 4 and parts[2] in KINDS:
        return OfAgent(parts[0], parts[1], f"{parts[2]}/{parts[3]}")
    return None
