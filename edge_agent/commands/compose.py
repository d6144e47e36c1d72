"""Settings, models and memory plan for ``run`` and ``check``, with every library of the daemon loaded.

The libraries are loaded first, so that ``check`` measures the same interpreter size as the daemon. Libraries
that a device does not use are not loaded: OpenSSL without TLS or plug-ins, libsodium without hub keys.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_agent.adapters.board_sensors import cgroup_limit
from edge_agent.adapters.config_files import Reading
from edge_agent.adapters.lazy_imports import daemon_libraries, restore_libraries
from edge_agent.adapters.process import rss_bytes
from edge_agent.adapters.state_lock import StateLock
from edge_agent.errors import EdgeAgentError
from edge_agent.services.kept_state import KeptState, look, open_state

if TYPE_CHECKING:
    from edge_agent.config.profile import Profile
    from edge_agent.config.records import Config
    from edge_agent.memory.arena import Column
    from edge_agent.memory.budget import Line, Plan
    from edge_agent.runtime.assembly import Prepared
    from edge_agent.runtime.reporting.agent_entities import Shown
    from edge_agent.runtime.reporting.sample_plan import SamplePlan

log = logging.getLogger("edge_agent")

DAEMON_LIBRARIES = (
    "edge_agent.adapters.control",
    "edge_agent.adapters.loop",
    "edge_agent.adapters.mqtt",
    "edge_agent.adapters.outbox_sqlite",
    "edge_agent.runtime.assembly",
    "edge_agent.runtime.daemon",
)
PEERING = "edge_agent.runtime.peers.coordinator"
AGENT_SAMPLES = "edge_agent.runtime.reporting.agent_samples"
AGENT_STATES = "edge_agent.runtime.reporting.agent_states"


@dataclass(frozen=True, slots=True)
class Settings:
    """A checked configuration and the profile it runs under."""

    config: Config
    profile: Profile
    config_path: Path
    profile_path: Path


@dataclass(frozen=True, slots=True)
class Composed:
    """Settings, prepared populations, their plan, and what the hub left here; nothing is allocated yet."""

    settings: Settings
    prepared: list[Prepared]
    plan: Plan
    state: KeptState
    lock: StateLock | None = None
    samples: SamplePlan | None = None
    """What the ``telemetry`` sections ask for."""
    remote: Mapping[str, Any] = field(default_factory=dict)
    """What the hub set in the configuration, and is part of it."""
    remote_fault: str = ""
    """Why what the hub set could not be applied; the file's configuration runs then."""

    @property
    def config(self) -> Config:
        """The configuration, with what the hub rolled out."""
        return self.settings.config

    @property
    def budget_source(self) -> str:
        """Where the budget comes from, for messages."""
        if self.plan.budget == cgroup_limit():
            return "the control group's memory.max"
        if self.settings.config.device.memory_mb:
            return f"{self.settings.config_path}: device.memory_mb"
        return f"{self.settings.profile_path}: memory_mb"


def compose(config: Path, profile: str | None, own_state: bool = False) -> Composed:
    """Read, check and plan; raises ConfigError or BundleError on the first thing that is wrong.

    With ``own_state`` the state directory is locked before anything in it is looked at (PlatformError if
    another daemon has it), and what the hub left there is taken over; without, it is only looked at.
    """
    reading = Reading(config, profile)
    with daemon_libraries():
        for library in DAEMON_LIBRARIES:  # the child works meanwhile
            importlib.import_module(library)
    settings = _settings(reading.result(), config)
    _load_for(settings.config)
    lock = StateLock(Path(settings.config.device.state_dir)) if own_state else None
    base = rss_bytes()
    state = open_state(settings.config) if own_state else look(settings.config)
    try:
        return replace(_with_remote(settings, profile, state, base), lock=lock)
    except EdgeAgentError:  # it was said what is wrong, and that is not in what was kept
        if state.starts is not None:
            state.starts.end()
        raise


def compose_candidate(config: Path, profile: str | None, remote: Mapping[str, Any], base: int) -> Composed:
    """Check and plan the configuration that a running daemon would have with other values of the hub.

    ``base`` is what the process takes before anything of ours, in bytes.

    Raises
    ------
    ConfigError, BundleError, BudgetError
        It can't be: nothing of ``remote`` is to be used.
    """
    settings = _settings(Reading(config, profile, remote).result(), config)
    state = look(settings.config)
    if state.client is not None:
        from edge_agent.services.active_bundles import followed

        settings = replace(settings, config=followed(settings.config, state.client))
    found = _planned(settings, state, base, configured=False)
    found.plan.check(found.budget_source)
    return replace(found, remote=remote)


def _settings(document: Mapping[str, Any], path: Path) -> Settings:
    from edge_agent.config import profile as profile_records
    from edge_agent.config import records as config_records

    return Settings(
        config_records.build(document["config"]),
        profile_records.build(document["profile"]),
        path,
        Path(document["profile_path"]),
    )


def _with_remote(settings: Settings, profile: str | None, state: KeptState, base: int) -> Composed:
    """Apply what the hub set in the configuration; if that can't be, the file's is in force."""
    remote, fault = state.remote, ""
    if remote:
        try:
            document = Reading(settings.config_path, profile, remote).result()
            found = _composed(_settings(document, settings.config_path), state, base)
            found.plan.check(found.budget_source)
        except EdgeAgentError as error:
            fault = str(error)
            log.error("hub: %s; the configuration of the file is in force", fault)
        else:
            return replace(found, remote=remote)
    return replace(_composed(settings, state, base), remote_fault=fault)


def _load_for(config: Config) -> None:
    """Load what this configuration takes beside the libraries of every daemon."""
    broker = config.broker
    if broker is not None and (broker.tls or broker.ca_file):
        importlib.import_module("ssl")
    if broker is not None and config.hub.keys:
        importlib.import_module("nacl.signing")
    if config.peers is not None:
        importlib.import_module(PEERING)
    if _shows_agents(config):
        importlib.import_module(AGENT_STATES)
    if config.telemetry:
        importlib.import_module(AGENT_SAMPLES)
    for population in config.population:
        if any(entry.plugin for entry in population.observe) or any(entry.plugin for entry in population.act):
            restore_libraries()


def _composed(settings: Settings, state: KeptState, base: int) -> Composed:
    """Load what the hub rolled out; if a bundle is bad or the plan over its budget, what is configured."""
    if state.client is not None:
        from edge_agent.services.active_bundles import followed

        config = followed(settings.config, state.client)
        if config != settings.config:
            try:
                composed = _planned(replace(settings, config=config), state, base, configured=False)
                composed.plan.check(composed.budget_source)
            except EdgeAgentError as error:
                log.error("hub: %s; the configured bundles run", error)
            else:
                return composed
    composed = _planned(settings, state, base)
    if _shows_agents(settings.config):
        from edge_agent.runtime.reporting.agent_entities import check_room

        check_room(settings.config, shown_agents(composed), str(settings.config_path))
    return composed


def _planned(settings: Settings, state: KeptState, base: int, configured: bool = True) -> Composed:
    from edge_agent.runtime import assembly

    prepared = assembly.prepare_all(settings.config, settings.profile, settings.config_path)
    if settings.config.peers is not None:
        from edge_agent.runtime.peers.model_checks import check_shares

        check_shares(settings.config, prepared, str(settings.config_path))
    samples = None
    lines: list[Line] = []
    more: list[tuple[str, Sequence[Column]]] = []
    if settings.config.telemetry:
        from edge_agent.runtime.reporting.sample_plan import OWNER, plan_samples

        samples = plan_samples(settings.config, prepared, str(settings.config_path), configured)
        lines, more = list(samples.lines), [(OWNER, samples.columns)]
    plan = assembly.make_plan(settings.config, settings.profile, prepared, base, cgroup_limit(), lines, more)
    return Composed(settings, prepared, plan, state, samples=samples)


def shown_agents(composed: Composed) -> dict[str, Shown]:
    """Return what Home Assistant will show of which population."""
    if not _shows_agents(composed.config):
        return {}
    from edge_agent.runtime.reporting.agent_entities import PopulationView, planned_agents

    views = (PopulationView(item.config, item.binding, item.model, item.names) for item in composed.prepared)
    return planned_agents(composed.config, views)


def _shows_agents(config: Config) -> bool:
    return any(entry.home_assistant is not None for entry in config.population)
