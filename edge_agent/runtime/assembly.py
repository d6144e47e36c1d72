"""Builds populations from settings: models, plan, arena and groups, in this order.

Theory of operation. All checks come before any allocation: bundles are loaded and verified, names are looked
up in their io bindings, and the plan must fit. Then the arena is mapped and touched, and the populations get
their columns from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.config.agent_names import AgentNames
from edge_agent.config.profile import Profile
from edge_agent.config.records import Config, PopulationConfig
from edge_agent.engine.binding import Binding
from edge_agent.engine.stored_model import StoredModel
from edge_agent.errors import ConfigError
from edge_agent.memory import history as history_memory
from edge_agent.memory.arena import Arena, Column
from edge_agent.memory.budget import MIB, Line, Plan, plan, region_bytes
from edge_agent.runtime.population import group as group_memory
from edge_agent.runtime.population import models
from edge_agent.runtime.population.actuators import check_output
from edge_agent.runtime.population.channels import BYTES_PER_TOPIC, Channel, channels
from edge_agent.runtime.population.group import Group
from edge_agent.runtime.population.models import load_model
from edge_agent.runtime.population.observations import Wake
from edge_agent.runtime.population.population_port import PopulationPort

if TYPE_CHECKING:
    from edge_agent.runtime.population.models import AnyModel

INBOX_BYTES = MIB
OUTBOX_PENDING_BYTES = MIB // 4
OUTBOX_BYTES = OUTBOX_PENDING_BYTES + MIB // 2  # two SQLite connections with 128 KiB of pages each
TRANSIENT_BYTES = 2 * MIB
POPULATION_BYTES = 30 * 1024  # measured: objects, topics and tasks of a population of one agent
TICK_TOLERANCE = 0.1
LEAST_SEND_S = 3600.0
BYTES_PER_DEVICE = 4096  # of the roster: words, reputations, candidates, cells
Loader = Callable[[Path], tuple["AnyModel", str]]
Regions = Sequence[tuple[str, Sequence[Column]]]


def owners(owner: str) -> tuple[str, str, str]:
    """Return the names of a population's regions of the arena: its model's, io, history."""
    return f"{owner}/agents", f"{owner}/io", f"{owner}/history"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A population whose model is loaded and whose names are resolved; it holds no columns yet."""

    config: PopulationConfig
    model: AnyModel
    binding: Binding
    names: AgentNames
    channels: tuple[Channel, ...]
    threads: int
    digest: str
    """Names the bundle: the digest of its manifest."""

    def regions(self, owner: str) -> Regions:
        """Return what it will need of the arena, by region: model, io, history."""
        agents, io, history = owners(owner)
        size, modalities, controls = len(self.names), len(self.binding.modalities), len(self.binding.controls)
        past = history_memory.columns(self.config.history_kb * 1024, modalities, controls, self.binding.dtype)
        return (
            (
                agents,
                models.columns(
                    self.model,
                    size,
                    self.threads,
                    self.redecides,
                    self.learn_every,
                    self.learns_alone,
                    self.sends,
                ),
            ),
            (io, group_memory.columns(self.config, size, self.binding)),
            (history, past),
        )

    @property
    def redecides(self) -> bool:
        """Whether its agents decide within ticks."""
        return group_memory.redecides(self.config, self.binding)

    @property
    def learn_every(self) -> int | None:
        """Ticks between new tables of what was learned; 0: it only counts; None: it does not learn."""
        if self.config.learn == "off":
            return None
        return 0 if self.config.learn == "frozen" else self.config.learn_every

    @property
    def sends(self) -> bool:
        """Whether what it counts goes to the hub."""
        return self.config.learn_send_s > 0

    @property
    def learns_alone(self) -> bool:
        """Whether each agent learns by itself."""
        return self.config.learn == "agent"

    @property
    def topic_bytes(self) -> int:
        """Bytes of the topic table."""
        return sum(len(channel.agents) for channel in self.channels) * BYTES_PER_TOPIC


def prepare(config: PopulationConfig, profile: Profile, where: str, load: Loader = load_model) -> Prepared:
    """Load and check one population; ``where`` names its place in the configuration.

    Raises
    ------
    ConfigError, BundleError, ModelError
        The bundle is bad, or names a modality or control that the model does not have.
    """
    if config.rate_hz is not None:
        _check_rate(config.rate_hz, profile, where)
    model, digest = load(Path(config.bundle))
    binding = models.bind(model, config.bundle)
    _check_tick(config, binding, profile, where)
    names = AgentNames.of(config)
    observe = [(f"{where}.observe[{n}].modality", entry) for n, entry in enumerate(config.observe)]
    for key, entry in observe:
        binding.modality(entry.modality, key)
    for number, act in enumerate(config.act):
        output = binding.output(act.control, f"{where}.act[{number}].control")
        check_output(act, output, f"{where}.act[{number}]", config.bundle)
    found = tuple(channels(observe, binding, names, config.name, config.act))
    _check_wakes(config, found, where)
    _check_reduce(config, binding, where)
    if config.learn != "off" and (not isinstance(model, StoredModel) or model.learning is None):
        raise ConfigError(
            f"{where}.learn: found {config.learn!r}, expected 'off': {config.bundle} has no concentrations"
        )
    if 0 < config.learn_send_s < LEAST_SEND_S:
        raise ConfigError(
            f"{where}.learn_send_s: found {config.learn_send_s:g}, expected 0 or at least {LEAST_SEND_S:g}"
        )
    if config.learn_send_s and config.learn not in ("population", "frozen"):
        raise ConfigError(
            f"{where}.learn_send_s: found {config.learn_send_s:g}, expected learn = 'population' or 'frozen'"
        )
    if config.learn != "off" and config.share:
        raise ConfigError(f"{where}.learn: found {config.learn!r} with shared factors, expected 'off'")
    if isinstance(model, StoredModel) and model.slots:
        _check_window(config, model.options.inference_algo, where)
    return Prepared(config, model, binding, names, found, config.threads or profile.threads, digest)


def _check_window(config: PopulationConfig, algorithm: str, where: str) -> None:
    """Check that a population that infers over a window is given outcomes alone: it keeps nothing else."""
    given = [
        (f"observe[{n}]", "probabilities or an uncertainty")
        for n, o in enumerate(config.observe)
        if o.spreads
    ]
    given += [("share", "a shared factor")] * bool(config.share)
    given += [("learn", repr(config.learn))] * (config.learn != "off")
    for key, found in given:
        raise ConfigError(
            f"{where}.{key}: found {found}, expected none: {config.bundle} infers over a window of ticks "
            f"({algorithm}), which keeps outcomes and actions alone"
        )


def _check_rate(rate_hz: float, profile: Profile, where: str) -> None:
    if rate_hz > profile.max_rate_hz:
        raise ConfigError(
            f"{where}.rate_hz: found {rate_hz:g}, expected at most {profile.max_rate_hz:g} ({profile.board})"
        )


def _check_tick(config: PopulationConfig, binding: Binding, profile: Profile, where: str) -> None:
    """Check that a population steps at its model's tick."""
    tick = binding.tick_s
    if config.tick == "arrival":
        if config.step == "rate":
            raise ConfigError(f"{where}.tick: found 'arrival' with step 'rate', expected step 'arrival'")
        if config.rate_hz is None:
            raise ConfigError(f"{where}.rate_hz: missing, expected the most arrivals per second")
        return
    if tick is None:
        if config.rate_hz is None and binding.infers:
            raise ConfigError(
                f"{where}.rate_hz: missing, expected ticks per second: {config.bundle} states no tick "
                "(io.tick_seconds)"
            )
        return
    if config.rate_hz is None:
        _check_rate(1.0 / tick, profile, where)
    elif config.tick == "bundle" and abs(config.rate_hz * tick - 1.0) > TICK_TOLERANCE:
        raise ConfigError(
            f"{where}.rate_hz: found {config.rate_hz:g}, one step per {1.0 / config.rate_hz:g} s, expected "
            f"{1.0 / tick:.6g}: a tick of {config.bundle} is {tick:g} s (omit rate_hz, or set "
            'tick = "ignore")'
        )


def _check_wakes(config: PopulationConfig, found: Sequence[Channel], where: str) -> None:
    """Check that a population that steps on arrival has an entry whose readings are arrivals."""
    fields = [field for channel in found if channel.reachable is None for field in channel.fields]
    other = config.bulk or any(entry.source != "mqtt" for entry in config.observe)
    if config.step != "rate" and fields and not other and all(f.wake is Wake.NEVER for f in fields):
        raise ConfigError(
            f"{where}.step: found {config.step!r}, but no reading is an arrival: each observe entry has "
            "wakes = false or reads what a control sets; expected wakes = true in one of them"
        )


def _check_reduce(config: PopulationConfig, binding: Binding, where: str) -> None:
    """Check that the readings of a modality can be reduced to one number, in one way."""
    ways: dict[int, str] = {}
    for number, entry in enumerate(config.observe):
        key = f"{where}.observe[{number}]"
        column = binding.modality(entry.modality, f"{key}.modality")
        modality = binding.modalities[column]
        if entry.reduce != "last" and modality.size and not modality.edges:
            raise ConfigError(
                f"{key}.reduce: found {entry.reduce!r}, expected 'last': modality {modality.name} of "
                f"{config.bundle} has no bin edges"
            )
        if ways.setdefault(column, entry.reduce) != entry.reduce:
            raise ConfigError(
                f"{key}.reduce: found {entry.reduce!r}, expected {ways[column]!r} as for the other readings "
                f"of modality {modality.name}"
            )


def prepare_all(config: Config, profile: Profile, where: Path) -> list[Prepared]:
    """Load and check all populations of a configuration file; those of one bundle share its model."""
    load = lru_cache(maxsize=None)(load_model)
    return [
        prepare(entry, profile, f"{where}: population[{number}]", load)
        for number, entry in enumerate(config.population)
    ]


def make_plan(
    config: Config,
    profile: Profile,
    prepared: Iterable[Prepared],
    base: int,
    limit: int | None = None,
    lines: Iterable[Line] = (),
    more: Regions = (),
) -> Plan:
    """Return the plan of the whole process.

    ``base`` is its size before anything of ours, ``limit`` what the kernel allows it, both in bytes;
    ``lines`` and ``more`` regions are those of parts that not every device has.
    """
    populations = list(prepared)
    fixed = [Line("process", "interpreter and libraries", base)]
    for item in populations:
        fixed.append(Line(item.config.name, "model (mapped)", item.model.nbytes))
        fixed.append(Line(item.config.name, "objects", POPULATION_BYTES))
        if item.topic_bytes:
            fixed.append(Line(item.config.name, "topic table", item.topic_bytes))
    if any(item.config.home_assistant is not None for item in populations):
        from edge_agent.runtime.reporting.agent_entities import memory_lines

        fixed += memory_lines(config, [(item.config, len(item.names)) for item in populations])
    fixed += models.runtime_lines((item.config.name, item.model, len(item.names)) for item in populations)
    for item in populations:
        fixed += models.object_lines(item.config.name, len(item.names)) if item.learns_alone else []
    fixed += [
        Line("link", "inbox", INBOX_BYTES),
        Line("process", "buffers that come and go", TRANSIENT_BYTES),
    ]
    if config.broker is not None:
        fixed.append(Line("link", "outbox", OUTBOX_BYTES))
    fixed += lines
    regions = [region for item in populations for region in item.regions(item.config.name)]
    regions += more
    if config.device.spare_kb >= 0:
        spare = config.device.spare_kb * 1024
    else:  # room to plan a new bundle beside the old one
        spare = max((region_bytes(item.regions(item.config.name)[:2]) for item in populations), default=0)
    if config.peers is not None:
        spare += config.peers.room_kb * 1024
        fixed.append(Line("peers", "roster", config.peers.devices * BYTES_PER_DEVICE))
    budget = (config.device.memory_mb or profile.memory_mb) * MIB
    return plan(budget if limit is None else min(budget, limit), fixed, regions, spare)


def build_model_port(item: Prepared, arena: Arena, owner: str) -> PopulationPort:
    """Give a prepared model its columns under region ``owner`` and return its population."""
    return models.populate(
        item.model,
        len(item.names),
        seed=item.config.seed,
        threads=item.threads,
        allocate=partial(arena.allocate, owner),
        redecides=item.redecides,
        learn_every=item.learn_every,
        epochs=item.sends,
        own=item.learns_alone,
    )


def build(item: Prepared, arena: Arena, owner: str) -> Group:
    """Give a prepared population its columns in regions that begin with ``owner``; it is ready to step."""
    (agents, _), (io, io_columns), (past, past_columns) = item.regions(owner)
    modalities, controls = len(item.binding.modalities), len(item.binding.controls)
    model_port = build_model_port(item, arena, agents)
    history = history_memory.History(
        arena.allocate(past, past_columns), modalities, controls, item.binding.dtype
    )
    return Group(
        item.config,
        model_port,
        item.binding,
        item.names,
        item.channels,
        history,
        arena.allocate(io, io_columns),
        item.digest,
        (agents, io, past),
    )
