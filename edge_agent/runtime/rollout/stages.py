"""The stages of a rollout on the running daemon: verified, the shadow, on trial, there to stay or gone.

Theory of operation. The verified bundle is staged as the shadow of the one that acts; for the trial they
change places; in the end one of the two is dropped (`runtime.populations`). How the new bundle does meanwhile
is watched (`runtime.rollout.health`). A population that is not here yet has no shadow run: it comes by
`runtime.rollout.new_population`, on trial. Whatever happens is told to the follower; what it asks for then is
returned.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

from edge_agent.errors import EdgeAgentError
from edge_agent.protocol.hub_client import HubClient, HubEffect, Leave
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
from edge_agent.runtime.rollout.bundle_port import BundlePort, Verified
from edge_agent.runtime.rollout.health import BundleHealth
from edge_agent.runtime.rollout.new_population import NewPopulations, let_go

if TYPE_CHECKING:
    from edge_agent.runtime.daemon import Daemon

log = logging.getLogger("edge_agent")

Effects = list[HubEffect]


class RolloutStages:
    """All rollouts of a device at work.

    Parameters
    ----------
    follower : HubClient
        Who decides.
    workshop : BundlePort
        Where bundles are.
    clock : Clock
        Monotonic and Unix time.
    """

    def __init__(self, follower: HubClient, workshop: BundlePort, clock: Clock) -> None:
        self._follower = follower
        self._workshop = workshop
        self._clock = clock
        self._watching = BundleHealth()
        self._arriving = NewPopulations()

    @property
    def deadline(self) -> float:
        """When `reports` has something to say, monotonic seconds."""
        return self._watching.deadline

    def settled(self, daemon: Daemon) -> dict[str, tuple[str, int]]:
        """Return bundle and size of each population that is here and not on its first trial."""
        groups = daemon.groups.items()
        return {
            name: (group.digest, len(group.names)) for name, group in groups if name not in self._arriving
        }

    def perform(self, daemon: Daemon, effect: RolloutEffect | Leave) -> Effects:
        """Carry out what the follower asks for."""
        match effect:
            case Verify(population, bundle):
                return self._verify(daemon, population, bundle)
            case StartShadow(population, bundle):
                self._watching.begin(daemon, population, bundle, False, self._clock.monotonic())
            case Trial(population, bundle):
                log.info("hub: population %s tries bundle %.12s", population, bundle)
                return self._try(daemon, population, bundle)
            case Commit(population, bundle):
                log.info("hub: population %s runs bundle %.12s", population, bundle)
                return self._commit(daemon, population, bundle)
            case RollBack(population, bundle, reason):
                log.warning("hub: population %s goes back: %s", population, reason)
                if population in self._arriving:
                    self._arriving.send_off(population, daemon)
                self._act(daemon, population, bundle)
                self._end(daemon, population)
            case Leave(population):
                log.info("hub: population %s goes", population)
                let_go(population, daemon)
                self._end(daemon, population)
        return []

    def verified(self, daemon: Daemon, item: Verified) -> Effects:
        """Stage what was verified, or tell why it was refused."""
        rollout = self._follower.rollouts.get(item.population)
        if rollout is None or rollout.bundle != item.bundle or rollout.stage is not Stage.VERIFYING:
            return []  # another one is desired meanwhile
        if not isinstance(item.prepared, Prepared):
            return self._failed(item.population, item.bundle, item.prepared)
        config = None
        try:
            if item.population in daemon.groups:
                daemon.roster.drop(item.population)
                daemon.roster.stage(item.prepared)
            else:
                config = self._arriving.expect(item.prepared, daemon)
        except EdgeAgentError as error:
            return self._failed(item.population, item.bundle, str(error))
        return self._follower.verified(item.population, item.bundle, *self._now(), config=config)

    def reports(self, daemon: Daemon) -> Iterator[Effects]:
        """Tell how each bundle does whose health is due; carry out what comes of it before the next."""
        for population in self._watching.due(self._clock.monotonic()):
            health = self._watching.health(daemon, population)
            if health is not None:
                yield self._follower.health(population, health, *self._now())
                continue
            bundle = self._watching.bundle(population)
            self._watching.end(population)
            yield self._failed(population, bundle, "the population was changed meanwhile")

    def _now(self) -> tuple[float, float]:
        return self._clock.monotonic(), self._clock.time()

    def _failed(self, population: str, bundle: str, reason: str) -> Effects:
        return self._follower.failed(population, bundle, reason, *self._now())

    def _verify(self, daemon: Daemon, population: str, bundle: str) -> Effects:
        group, signers = daemon.groups.get(population), self._follower.twin.trust.keys
        config = self._follower.asked_for(population)
        if group is not None:
            self._workshop.verify(group.config, bundle, signers)
        elif config is not None:
            self._workshop.admit(population, config, bundle, signers)
        else:
            return self._failed(population, bundle, f"no population {population!r} here")
        return []

    def _try(self, daemon: Daemon, population: str, bundle: str) -> Effects:
        """Let ``bundle`` act, and watch it."""
        alone = population in self._arriving
        if not alone:
            self._act(daemon, population, bundle)
        elif reason := self._arriving.begin(population, daemon):
            return self._failed(population, bundle, reason)
        self._watching.begin(daemon, population, bundle, alone, self._clock.monotonic())
        return []

    def _commit(self, daemon: Daemon, population: str, bundle: str) -> Effects:
        self._end(daemon, population)
        effects: Effects = []
        if population in self._arriving:
            self._arriving.settle(population, daemon)
            effects = self._follower.configure(self.settled(daemon), *self._now())
        daemon.adopt(population, self._workshop.path(bundle))
        return effects

    def _act(self, daemon: Daemon, population: str, bundle: str) -> None:
        """Let ``bundle`` act, if it is the shadow."""
        group = daemon.groups.get(population)
        if group is not None and group.shadow is not None and group.shadow.digest == bundle:
            daemon.exchange(population)

    def _end(self, daemon: Daemon, population: str) -> None:
        self._watching.end(population)
        if population in daemon.groups:
            daemon.roster.drop(population)
        rollouts = self._follower.rollouts.values()
        underway = {rollout.bundle for rollout in rollouts if rollout.stage not in ENDED}
        self._workshop.keep(underway | set(self._follower.active.values()))
