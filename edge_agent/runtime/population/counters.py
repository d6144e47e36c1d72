"""Counters of a population since its first start. They survive restarts and are part of a loan payload."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(slots=True)
class GroupCounters:
    """Counters of one population; whoever counts holds the same object, so it is never replaced."""

    ticks: int = 0
    steps: int = 0
    observations: int = 0
    actions: int = 0
    stale: int = 0
    """Agents that are silent now."""

    def resume_from(self, earlier: GroupCounters) -> None:
        """Count on from where ``earlier`` ended."""
        for counter in fields(self):
            setattr(self, counter.name, getattr(earlier, counter.name))
