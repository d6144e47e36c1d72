"""What a changed configuration file means for a running daemon.

Populations come, go and change while the daemon runs. What the process was built around (its name, its
broker, its budget) takes a restart, and the log says so. A bad file changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from edge_agent.config.records import Config


@dataclass(frozen=True, slots=True)
class Changes:
    """Numbers of the populations to make, names of those to let go, sections that take a restart."""

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
