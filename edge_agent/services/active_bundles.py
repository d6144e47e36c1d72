"""Applies the hub's rollouts to the configuration: other bundles, and added populations."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from edge_agent.adapters.hub_state import BUNDLES, STATE
from edge_agent.config.records import Config, build_population
from edge_agent.errors import ConfigError, PeerError
from edge_agent.protocol.rollout import active_of
from edge_agent.wire.population_topics import check_population_topics
from edge_agent.wire.topics import check_name

log = logging.getLogger("edge_agent")


def followed(config: Config, state: Mapping[str, Any]) -> Config:
    """Return the configuration with the bundles that the hub rolled out and the populations it added, by what
    was kept of the hub.
    """
    folder = Path(config.device.state_dir)
    here = {entry.name for entry in config.population}
    try:
        active = active_of(state)
        added = [build_population(e) for name, e in state.get("added", {}).items() if name not in here]
        for entry in added:
            check_population_topics(asdict(entry), check_name(entry.name, "name"), f"population {entry.name}")
    except (ConfigError, PeerError, KeyError, TypeError, AttributeError) as error:
        log.warning("hub: %s: %s; the configured bundles run", folder / STATE, error)
        return config
    paths = {name: folder / BUNDLES / f"{digest}.eab" for name, digest in active.items()}
    population = tuple(
        replace(entry, bundle=str(paths[entry.name])) if entry.name in paths else entry
        for entry in (*config.population, *added)
    )
    return replace(config, population=population)
