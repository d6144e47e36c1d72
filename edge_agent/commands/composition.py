"""What ``run`` and ``check`` share: settings, models and plan, with every library of the daemon loaded.

Loading the libraries first is what makes ``check``'s figure for the interpreter the daemon's own.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.adapters.config_files import Reading, Settings
from edge_agent.adapters.process import rss_bytes

if TYPE_CHECKING:
    from edge_agent.memory.budget import Plan
    from edge_agent.runtime.assembly import Prepared

DAEMON_LIBRARIES = (
    "edge_agent.adapters.mqtt",
    "edge_agent.runtime.assembly",
    "edge_agent.runtime.daemon",
    "edge_agent.wire.signatures",
)


@dataclass(frozen=True, slots=True)
class Composed:
    """Settings, prepared populations and their plan; nothing is allocated yet."""

    settings: Settings
    prepared: list[Prepared]
    plan: Plan

    @property
    def budget_source(self) -> str:
        """Where the budget comes from, for messages."""
        if self.settings.config.device.memory_mb:
            return f"{self.settings.config_path}: device.memory_mb"
        return f"{self.settings.profile_path}: memory_mb"


def compose(config: Path, profile: str | None) -> Composed:
    """Read, check and plan; raises ConfigError or BundleError on the first thing that is wrong."""
    reading = Reading(config, profile)
    for library in DAEMON_LIBRARIES:  # the child works meanwhile
        importlib.import_module(library)
    from edge_agent.runtime import assembly

    settings = reading.result()
    base = rss_bytes()
    prepared = assembly.prepare_all(settings.config, settings.profile, settings.config_path)
    plan = assembly.make_plan(settings.config, settings.profile, prepared, base)
    return Composed(settings, prepared, plan)
