"""Differences between the running configuration and a changed file.

Populations are added, removed and changed while the daemon runs. Other changes (name, broker, budget) need a
restart, and the log says so. An invalid file changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from edge_agent.config.records import Config


@dataclass(frozen=True, slots=True)
class Changes:
    """Numbers of the populations to add, names of those to remove, sections that need a restart."""

    make: tuple[int, ...]
    gone: tuple[str, ...]
    restart: tuple[str, ...]


def changes(old: Config, new: Config) -> Changes:
    """Return what has to happen to get from ``old`` to ``new``."""
    before = {entry.name: entry for entry in old.population}
    after = {entry.name: entry for entry in new.population}
    make = tuple(n for n, entry in enumerate(new.population) if before.get(entry.name) != entry)
    gone = tuple(name for name, entry in before.items() if after.get(name) != entry)
    restart = tuple(
        f.name
        for f in fields(Config)
        if f.name != "population" and getattr(old, f.name) != getattr(new, f.name)
    )
    return Changes(make, gone, restart)
