"""The stages of a rollout on the running daemon: verified, shadow run, trial, committed or rolled back.

Theory of operation. The verified bundle is staged as the shadow of the one that acts; for the trial they
change places; in the end one of the two is dropped (`runtime.populations`). How the new bundle does meanwhile
is watched (`runtime.rollout.health`). A population that is not here yet has no shadow run: it comes by
`runtime.rollout.new_population`, on trial. Results are reported to the hub client, and its next effects are
returned.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator

from edge_agent.errors import EdgeAgentError
from edge_agent.protocol.hub_client import HubClient
from edge_agent.protocol.hub_effects import HubEffect, Leave
from edge_agent.protocol.ports import Clock
from edge_agent.protocol.rollout import (
    ENDED,
    Commit,
    RollBack,
    RolloutEffect,
    Stage,
    StartShadow,
    Trial,
    Verify,
)
from edge_agent.runtime.assembly import Prepared
from edge_agent.runtime.populations import Populations
from edge_agent.runtime.rollout.bundle_port import BundlePort, Verified
from edge_agent.runtime.rollout.health import BundleHealth
from edge_agent.runtime.rollout.new_population import NewPopulations, without
from edge_agent.runtime.rollout.package_update import PackageUpdate
from edge_agent.runtime.step_schedule import StepSchedule
from edge_agent.wire.package import POPULATION

log = logging.getLogger("edge_agent")

Effects = list[HubEffect]


class RolloutStages:
    """All rollouts of a device.

    Parameters
    ----------
    client : HubClient
        Who decides.
    bundles : BundlePort
        Where bundles are.
    populations, schedule : Populations, StepSchedule
        What runs, and its pace.
    rss : callable
        Returns the bytes of the process in memory.
    clock : Clock
        Monotonic and Unix time.
    package : PackageUpdate, optional
        Updates of the daemon, where there is an installer.
    """

    def __init__(
        self,
        client: HubClient,
        bundles: BundlePort,
        populations: Populations,
        schedule: StepSchedule,
        rss: Callable[[], int],
        clock: Clock,
        package: PackageUpdate | None = None,
    ) -> None:
        self.package = package
        self._client = client
        self._bundles = bundles
        self._populations = populations
        self._clock = clock
        self._health = BundleHealth(populations, schedule, rss)
        self._new = NewPopulations(populations)

    @property
    def deadline(self) -> float:
        """When `reports` has something to say, monotonic seconds."""
        package = math.inf if self.package is None else self.package.deadline
        return min(self._health.deadline, package)

    def settled(self) -> dict[str, tuple[str, int]]:
        """Return bundle and size of each population that is here and not on its first trial."""
        groups = self._populations.groups.items()
        here = {name: (group.digest, len(group.names)) for name, group in groups if name not in self._new}
        return here if self.package is None else here | self.package.installed()

    def perform(self, effect: RolloutEffect | Leave) -> Effects:
        """Carry out what the hub client asks for."""
        if self.package is not None and effect.population == POPULATION:
            return self._perform_update(self.package, effect)
        match effect:
            case Verify(population, bundle):
                return self._verify(population, bundle)
            case StartShadow(population, bundle):
                self._health.begin(population, bundle, False, self._clock.monotonic())
            case Trial(population, bundle):
                log.info("hub: population %s starts the trial of bundle %.12s", population, bundle)
                return self._try(population, bundle)
            case Commit(population, bundle):
                log.info("hub: population %s runs bundle %.12s", population, bundle)
                return self._commit(population, bundle)
            case RollBack(population, bundle, reason):
                log.warning("hub: population %s is rolled back: %s", population, reason)
                if population in self._new:
                    self._new.remove(population)
                self._act(population, bundle)
                self._end(population)
            case Leave(population):
                log.info("hub: population %s is removed", population)
                self._populations.retire(population, without(self._populations.plan, population))
                self._end(population)
        return []

    def verified(self, item: Verified) -> Effects:
        """Stage what was verified, or tell why it was refused."""
        rollout = self._client.rollouts.get(item.population)
        if rollout is None or rollout.bundle != item.bundle or rollout.stage is not Stage.VERIFYING:
            return []  # another one is desired meanwhile
        if not isinstance(item.prepared, Prepared):
            return self._failed(item.population, item.bundle, item.prepared)
        config = None
        try:
            if item.population in self._populations.groups:
                self._populations.drop(item.population)
                self._populations.stage(item.prepared)
            else:
                config = self._new.expect(item.prepared)
        except EdgeAgentError as error:
            return self._failed(item.population, item.bundle, str(error))
        return self._client.verified(item.population, item.bundle, *self._now(), config=config)

    def reports(self) -> Iterator[Effects]:
        """Tell how each bundle does whose health is due; carry out what comes of it before the next."""
        if self.package is not None:
            yield self.package.answered()
        for population in self._health.due(self._clock.monotonic()):
            health = self._health.health(population)
            if health is not None:
                yield self._client.health(population, health, *self._now())
                continue
            bundle = self._health.bundle(population)
            self._health.end(population)
            yield self._failed(population, bundle, "the population was changed meanwhile")

    def _now(self) -> tuple[float, float]:
        return self._clock.monotonic(), self._clock.time()

    def _failed(self, population: str, bundle: str, reason: str) -> Effects:
        return self._client.failed(population, bundle, reason, *self._now())

    def _perform_update(self, package: PackageUpdate, effect: RolloutEffect | Leave) -> Effects:
        effects = package.perform(effect)
        if isinstance(effect, Commit | RollBack):
            self._keep_bundles()
            effects = [*effects, *self._client.configure(self.settled(), *self._now())]
        return effects

    def _verify(self, population: str, bundle: str) -> Effects:
        group, signers = (
            self._populations.groups.get(population),
            self._client.twin.signers(population, bundle),
        )
        config = self._client.asked_for(population)
        if group is not None:
            self._bundles.verify(group.config, bundle, signers)
        elif config is not None:
            self._bundles.admit(population, config, bundle, signers)
        else:
            return self._failed(population, bundle, f"no population {population!r} here")
        return []

    def _try(self, population: str, bundle: str) -> Effects:
        """Let ``bundle`` act, and watch it."""
        alone = population in self._new
        if not alone:
            self._act(population, bundle)
        elif reason := self._new.begin(population):
            return self._failed(population, bundle, reason)
        self._health.begin(population, bundle, alone, self._clock.monotonic())
        return []

    def _commit(self, population: str, bundle: str) -> Effects:
        self._end(population)
        effects: Effects = []
        if population in self._new:
            self._new.settle(population)
            effects = self._client.configure(self.settled(), *self._now())
        self._populations.adopt(population, self._bundles.path(bundle))
        return effects

    def _act(self, population: str, bundle: str) -> None:
        """Let ``bundle`` act, if it is the shadow."""
        group = self._populations.groups.get(population)
        if group is not None and group.shadow is not None and group.shadow.digest == bundle:
            self._populations.exchange(population)

    def _end(self, population: str) -> None:
        self._health.end(population)
        if population in self._populations.groups:
            self._populations.drop(population)
        self._keep_bundles()

    def _keep_bundles(self) -> None:
        """Remove the bundles that are not needed; a package is not, once it is installed."""
        rollouts = self._client.rollouts.values()
        underway = {rollout.bundle for rollout in rollouts if rollout.stage not in ENDED}
        active = {bundle for name, bundle in self._client.active.items() if name != POPULATION}
        self._bundles.keep(underway | active)
