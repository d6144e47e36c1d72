"""The populations of the device within the planned arena: the only owner of what runs and what is suspended.

Theory of operation. `Populations` owns the groups, the plan, the configuration of what runs now, and the
reasons for which a population is suspended. Whatever comes is planned beside what there is: if the arena has
no room for it, BudgetError says how many bytes are missing and nothing has changed. A new bundle for a
population goes three steps, which a rollout takes one by one and may take back::

    stage      the new model runs as the shadow: same observations, its choices are compared, it doesn't act
    exchange   acting model and shadow change places; once more takes it back
    drop       the shadow goes, and its bytes are free

A bundle whose modalities or controls differ can't share columns with the old one: `change` plans a whole
population beside the old one and then lets that one go.

Reasons belong to a population's name: one that replaces another inherits them, and LOAN outlives a removal,
since a peer may still run what was removed here. Whoever needs to know of a change appends a function to one
of the lists of listeners.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from edge_agent.config.records import Config, PopulationConfig
from edge_agent.errors import ConfigError
from edge_agent.memory.arena import Arena
from edge_agent.memory.budget import Plan
from edge_agent.runtime import assembly
from edge_agent.runtime.assembly import Prepared
from edge_agent.runtime.population import models
from edge_agent.runtime.population.counters import GroupCounters
from edge_agent.runtime.population.group import Group
from edge_agent.runtime.population.population_port import PopulationPort
from edge_agent.runtime.population.shadow import Shadow
from edge_agent.runtime.population.suspension import SuspendReason

BuildGroup = Callable[[Prepared, Arena, str], Group]
BuildPort = Callable[[Prepared, Arena, str], PopulationPort]
GroupListener = Callable[[str, Group], None]


class Populations:
    """All populations of a device, by name.

    Parameters
    ----------
    config : Config
        The device's configuration.
    plan : Plan
        The memory plan of the process.
    arena : Arena
        Out of which the populations' columns come.
    build, build_port : callable
        Make a population, or its model's part alone, under an owner's name in the arena.
    connect : callable, optional
        Gives a new population the sources that are not messages.
    """

    def __init__(
        self,
        config: Config,
        plan: Plan,
        arena: Arena,
        build: BuildGroup = assembly.build,
        build_port: BuildPort = assembly.build_model_port,
        connect: Callable[[Group], None] | None = None,
    ) -> None:
        self.arena = arena
        self.added: list[GroupListener] = []
        """Called when a population begins to run, new or in place of another."""
        self.removed: list[GroupListener] = []
        """Called when a population has gone, also when another took its place."""
        self.suspended: list[GroupListener] = []
        """Called when a population gets its first reason to be suspended."""
        self.resumed: list[GroupListener] = []
        """Called when a population has lost its last reason to be suspended."""
        self.restarted: list[GroupListener] = []
        """Called when model or beliefs of a population are others than its last step left."""
        self.changed: list[Callable[[], None]] = []
        """Called when populations came or went."""
        self.exchanged: list[Callable[[], None]] = []
        """Called when another model acts in a population."""
        self.adopted: list[Callable[[], None]] = []
        """Called when a population keeps another bundle for good."""
        self._config = config
        self._plan = plan
        self._build = build
        self._build_port = build_port
        self._connect = connect
        self._groups: dict[str, Group] = {}
        self._view = MappingProxyType(self._groups)
        self._reasons: dict[str, set[SuspendReason]] = {}
        self._generation = 0

    @property
    def groups(self) -> Mapping[str, Group]:
        """The running populations."""
        return self._view

    @property
    def config(self) -> Config:
        """The configuration of what runs now, with what the hub added."""
        return self._config

    @property
    def plan(self) -> Plan:
        """The memory plan of what runs now."""
        return self._plan

    def chosen(self, name: object) -> Mapping[str, Group]:
        """Return the population called ``name``, or all of them for None; raises ConfigError."""
        if name is None:
            return self.groups
        if not isinstance(name, str) or name not in self._groups:
            raise ConfigError(f"population: found {name!r}, expected one of {', '.join(self._groups)}")
        return {name: self._groups[name]}

    # What runs

    def change(
        self,
        items: Sequence[Prepared],
        gone: Sequence[str],
        configured: Sequence[PopulationConfig] | None = None,
    ) -> None:
        """Add, replace and remove populations, all of it or nothing.

        Parameters
        ----------
        items : sequence of Prepared
            The populations to make. One that is in ``gone`` too keeps its reasons to be suspended, and its
            beliefs and counters if bundle and size are the same.
        gone : sequence of str
            The populations to remove.
        configured : sequence of PopulationConfig, optional
            The populations of the configuration from now on; as before without it.

        Raises
        ------
        ConfigError
            There is one of that name that does not go, or one that shall go is not there.
        BudgetError
            The arena has no room for old and new side by side; nothing has changed.
        """
        leaving = {name: self._group(name) for name in gone}
        for item in items:
            if item.config.name in self._groups and item.config.name not in leaving:
                raise ConfigError(f"population {item.config.name}: there is one of that name already")
        made = self._make_all(items)
        for group in made:
            old = self._groups.get(group.config.name)
            if old is None or old.config.learn != group.config.learn:
                continue
            if old.digest == group.digest and len(old.names) == len(group.names):
                group.resume_from(old.model_port.checkpoint(), old.counters)
        for name in leaving.keys() - {group.config.name for group in made}:
            self.suspend(name, SuspendReason.STOP)
            self._reasons[name] &= {SuspendReason.LOAN}
        for name in leaving:
            del self._groups[name]
        for group in made:
            group.reasons = self._reasons.setdefault(group.config.name, set())
            self._groups[group.config.name] = group
        if configured is not None:
            self._config = replace(self._config, population=tuple(configured))
        for group in made:
            _tell(self.added, group.config.name, group)
        for name, group in leaving.items():
            _tell(self.removed, name, group)
            self._release(group)
        for listener in self.changed:
            listener()

    def keep(self, config: PopulationConfig, plan: Plan) -> None:
        """Let a population that runs stay: configuration and plan include it from now on."""
        self._config = replace(self._config, population=(*self._config.population, config))
        self._plan = plan

    def retire(self, name: str, plan: Plan) -> None:
        """Remove a population for good: configuration and plan no longer include it."""
        population = tuple(entry for entry in self._config.population if entry.name != name)
        self._config = replace(self._config, population=population)
        self._plan = plan
        if name in self._groups:
            self.change([], [name])

    def stage(self, item: Prepared) -> None:
        """Let a new model run as the shadow of the population of its name.

        Raises
        ------
        ConfigError
            There is a shadow already, or size, modalities or controls are not the same.
        BudgetError
            The arena has no room; nothing has changed.
        """
        group = self._group(item.config.name)
        if group.shadow is not None:
            raise ConfigError(f"population {item.config.name}: there is a shadow already")
        if len(item.names) != len(group.names) or not item.binding.same(group.binding):
            raise ConfigError(
                f"population {item.config.name}: size, modalities or controls differ from its own"
            )
        owner = self._owner(item)
        port = self._build_port(item, self.arena, owner)
        group.shadow = Shadow(port, item.digest, item.config.bundle, owner)

    def exchange(self, name: str) -> None:
        """Exchange the acting model and its shadow; all actions are sent again."""
        group = self._group(name)
        group.exchange()
        for listener in self.exchanged:
            listener()
        _tell(self.restarted, name, group)

    def drop(self, name: str) -> None:
        """Remove the shadow of a population."""
        group = self._group(name)
        if group.shadow is not None:
            self.arena.release(group.shadow.owner)
            group.shadow = None

    def adopt(self, name: str, bundle: str) -> None:
        """Note that a population runs another bundle file for good."""
        group = self._groups.get(name)
        if group is not None:
            group.config = replace(group.config, bundle=bundle)
        population = tuple(
            replace(entry, bundle=bundle) if entry.name == name else entry
            for entry in self._config.population
        )
        self._config = replace(self._config, population=population)
        for listener in self.adopted:
            listener()

    def set_rate(self, name: str, rate_hz: float) -> None:
        """Let a population step ``rate_hz`` times per second until the next start."""
        group = self._group(name)
        group.config = replace(group.config, rate_hz=rate_hz)

    def configure(self, config: Config, plan: Plan) -> list[str]:
        """Let another configuration be in force, with its plan; return the populations that changed.

        It may differ from the present one in what populations take over while they run (`Group.configure`)
        and in the section ``device``.
        """
        before = {entry.name: entry for entry in self._config.population}
        changed = [entry for entry in config.population if entry != before[entry.name]]
        for entry in changed:
            self._group(entry.name).configure(entry)
        self._config, self._plan = config, plan
        return [entry.name for entry in changed]

    def restore(self, name: str, beliefs: bytes, counters: GroupCounters) -> None:
        """Restore a population from beliefs of another device; raises as the model does."""
        group = self._group(name)
        group.resume_from(beliefs, counters)
        group.forget_sent()
        _tell(self.restarted, name, group)

    def reset(self, name: str) -> None:
        """Reset all agents of a population to the prior D."""
        group = self._group(name)
        group.model_port.reset()
        group.forget_sent()
        _tell(self.restarted, name, group)

    def reset_learned(self, name: str) -> int:
        """Let a population forget what it learned; return the updates it had counted."""
        group = self._group(name)
        updates = models.forget_learned(group.model_port)
        _tell(self.restarted, name, group)
        return updates

    # Why it does not run

    def suspend(self, name: str, reason: SuspendReason) -> None:
        """Add a reason; the population does not step while it has one."""
        reasons, group = self._reasons.setdefault(name, set()), self._groups.get(name)
        first = not reasons
        reasons.add(reason)
        if first and group is not None:
            _tell(self.suspended, name, group)

    def resume(self, name: str, reason: SuspendReason) -> None:
        """Remove a reason; the population steps again when there is none left."""
        reasons, group = self._reasons.get(name, set()), self._groups.get(name)
        last = reasons == {reason}
        reasons.discard(reason)
        if last and group is not None:
            _tell(self.resumed, name, group)

    def reasons(self, name: str) -> frozenset[SuspendReason]:
        """Return why a population is suspended, also of one that is not here now."""
        return frozenset(self._reasons.get(name, ()))

    def _group(self, name: str) -> Group:
        (group,) = self.chosen(name).values()
        return group

    def _owner(self, item: Prepared) -> str:
        name = item.config.name
        if not any(region in self.arena for region in assembly.owners(name)):
            return name
        self._generation += 1
        return f"{name}#{self._generation}"

    def _make_all(self, items: Sequence[Prepared]) -> list[Group]:
        made: list[Group] = []
        try:
            for item in items:
                made.append(self._make(item))  # noqa: PERF401 - the ones before must be known on failure
        except BaseException:
            for group in made:
                self._release(group)
            raise
        return made

    def _make(self, item: Prepared) -> Group:
        owner = self._owner(item)
        try:
            group = self._build(item, self.arena, owner)
            if self._connect is not None:
                self._connect(group)
        except BaseException:
            for region in assembly.owners(owner):
                if region in self.arena:
                    self.arena.release(region)
            raise
        return group

    def _release(self, group: Group) -> None:
        group.inputs.close()
        for owner in group.owners:
            self.arena.release(owner)
        if group.shadow is not None:
            self.arena.release(group.shadow.owner)


def _tell(listeners: Sequence[GroupListener], name: str, group: Group) -> None:
    for listener in listeners:
        listener(name, group)
