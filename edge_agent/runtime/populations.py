"""Which populations there are, and how they change while the daemon runs, inside the arena that was planned.

Theory of operation. Whatever comes is planned beside what there is: if the arena has no room for it,
BudgetError says how many bytes are missing and nothing has changed. A new bundle for a population goes
three steps, which a rollout takes one by one and may take back::

    stage      the new model runs as the shadow: same observations, its choices are compared, it doesn't act
    exchange   acting model and shadow change places; once more takes it back
    drop       the shadow goes, and its bytes are free

A bundle whose modalities or controls differ can't share columns with the old one: `change` plans a whole
population beside the old one and then lets that one go.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edge_agent.errors import ConfigError
from edge_agent.memory.arena import Arena
from edge_agent.runtime import assembly
from edge_agent.runtime.assembly import Prepared
from edge_agent.runtime.population.group import Group
from edge_agent.runtime.population.population_port import PopulationPort
from edge_agent.runtime.population.shadow import Shadow

BuildGroup = Callable[[Prepared, Arena, str], Group]
BuildStepper = Callable[[Prepared, Arena, str], PopulationPort]


class Populations:
    """The populations at work, by name.

    Parameters
    ----------
    arena : Arena
        Out of which their columns come.
    build, build_stepper : callable
        Make a population, or its model's part alone, under an owner's name in the arena.
    connect : callable, optional
        Gives a new population the sources that are not messages.
    """

    def __init__(
        self,
        arena: Arena,
        build: BuildGroup = assembly.build,
        build_stepper: BuildStepper = assembly.build_stepper,
        connect: Callable[[Group], None] | None = None,
    ) -> None:
        self.arena = arena
        self.groups: dict[str, Group] = {}
        self._build = build
        self._build_stepper = build_stepper
        self._connect = connect
        self._generation = 0

    def change(self, items: Sequence[Prepared], gone: Sequence[str]) -> list[Group]:
        """Make populations out of ``items`` and let those named ``gone`` go, all of it or nothing.

        A population that is both keeps beliefs and counters if bundle and size are the same.

        Raises
        ------
        ConfigError
            There is one of that name that does not go, or one that shall go is not there.
        BudgetError
            The arena has no room for old and new side by side; nothing has changed.
        """
        for name in gone:
            self._group(name)
        for item in items:
            if item.config.name in self.groups and item.config.name not in gone:
                raise ConfigError(f"population {item.config.name}: there is one of that name already")
        made: list[Group] = []
        try:
            for item in items:
                made.append(self._make(item))  # noqa: PERF401 - the ones before must be known on failure
        except BaseException:
            for group in made:
                self._release(group)
            raise
        for group in made:
            old = self.groups.get(group.config.name)
            if old is not None and old.digest == group.digest and len(old.names) == len(group.names):
                group.go_on(old.stepper.checkpoint(), old.counters)
        for name in gone:
            self._release(self.groups.pop(name))
        self.groups.update((group.config.name, group) for group in made)
        return made

    def add(self, item: Prepared) -> Group:
        """Add a population; see `change`."""
        return self.change([item], [])[0]

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
        stepper = self._build_stepper(item, self.arena, owner)
        group.shadow = Shadow(stepper, item.digest, item.config.bundle, owner)

    def exchange(self, name: str) -> None:
        """Let acting model and shadow change places; the actions are all sent anew."""
        self._group(name).exchange()

    def drop(self, name: str) -> None:
        """Let the shadow go."""
        group = self._group(name)
        if group.shadow is not None:
            self.arena.release(group.shadow.owner)
            group.shadow = None

    def _group(self, name: str) -> Group:
        if name not in self.groups:
            raise ConfigError(f"population: found {name!r}, expected one of {', '.join(self.groups)}")
        return self.groups[name]

    def _owner(self, item: Prepared) -> str:
        name = item.config.name
        if not any(owner.startswith(f"{name}/") for owner in self.arena.regions):
            return name
        self._generation += 1
        return f"{name}#{self._generation}"

    def _make(self, item: Prepared) -> Group:
        before = set(self.arena.regions)
        try:
            group = self._build(item, self.arena, self._owner(item))
            if self._connect is not None:
                self._connect(group)
        except BaseException:
            for owner in set(self.arena.regions) - before:
                self.arena.release(owner)
            raise
        return group

    def _release(self, group: Group) -> None:
        group.intake.close()
        for owner in group.owners:
            self.arena.release(owner)
        if group.shadow is not None:
            self.arena.release(group.shadow.owner)
