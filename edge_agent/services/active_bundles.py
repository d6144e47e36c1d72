"""The configuration with what the hub rolled out: other bundles, and populations that it added."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from edge_agent.adapters.state_file import StateFile
from edge_agent.config.records import Config, build_population
from edge_agent.errors import PeerError, PlatformError
from edge_agent.protocol.hub_client import active_of

log = logging.getLogger("edge_agent")

STATE = "follower.json"
BUNDLES = "bundles"


def followed(config: Config) -> Config:
    """Return the configuration with the bundles that the hub rolled out and the populations it added."""
    folder = Path(config.device.state_dir)
    here = {entry.name for entry in config.population}
    try:
        state = StateFile(folder / STATE).read() or {}
        active = active_of(state)
        added = [build_population(e) for name, e in state.get("added", {}).items() if name not in here]
    except (PlatformError, PeerError, KeyError, TypeError, AttributeError) as error:
        log.warning("hub: %s; the configured bundles run", error)
        return config
    paths = {name: folder / BUNDLES / f"{digest}.eab" for name, digest in active.items()}
    population = tuple(
        replace(entry, bundle=str(paths[entry.name])) if entry.name in paths else entry
        for entry in (*config.population, *added)
    )
    return replace(config, population=population)
