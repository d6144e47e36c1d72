"""The hub's documents and commands at work on this device: carries out what ``protocol.follower`` decides.

Theory of operation. Signed messages go to the follower as they arrive; its effects are carried out in order.
`Save` is the first that matters: while the disk refuses it, nothing after it happens, and it is tried again
every `RETRY_S`. What takes time, reading and verifying a bundle or downloading one, is done by the workshop
in threads, and its news come back in `Following.turn`.

A rollout uses the roster's three steps: the verified bundle is staged as the shadow of the one that acts; for
the trial they change places; in the end one of the two is dropped. How the new bundle does meanwhile, the
follower hears from ``runtime.watching``. A population that is not here yet comes by ``runtime.arriving``.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Protocol

from edge_agent.errors import EdgeAgentError, PlatformError
from edge_agent.protocol.commands import Begin, Command
from edge_agent.protocol.follower import (
    Download,
    Follower,
    FollowerEffect,
    Leave,
    Parameters,
    Publish,
    Save,
)
from edge_agent.protocol.ports import Clock, Received
from edge_agent.protocol.rollout import ENDED, Commit, RollBack, Shadow, Stage, Trial, Verify
from edge_agent.protocol.transfer import Write
from edge_agent.runtime.arriving import Arriving, let_go
from edge_agent.runtime.assembly import Prepared
from edge_agent.runtime.link import Link
from edge_agent.runtime.obeying import Tools, obey
from edge_agent.runtime.watching import Watching
from edge_agent.runtime.workshop import Fetched, Verified, Workshop
from edge_agent.wire.blocks import Cut

if TYPE_CHECKING:
    from edge_agent.runtime.daemon import Daemon

log = logging.getLogger("edge_agent")

RETRY_S = 5.0
MAX_WAITING = 1000
MIN_TELEMETRY_S = 0.1


class Keeper(Protocol):
    """Where the follower's state is kept; failures are PlatformError."""

    def write(self, state: Mapping[str, Any]) -> None:
        """Make it durable."""


class Following:
    """The follower's hands; see the module's head.

    Parameters
    ----------
    follower : Follower
        Who decides.
    keeper, workshop, tools, clock
        The outside.
    """

    def __init__(
        self, follower: Follower, keeper: Keeper, workshop: Workshop, tools: Tools, clock: Clock
    ) -> None:
        self.follower = follower
        self.unsaved = 0
        self.dropped = 0
        self._keeper = keeper
        self._workshop = workshop
        self._tools = tools
        self._clock = clock
        self._todo: deque[FollowerEffect] = deque()
        self._going_on = False
        self._retry_at: float | None = None
        self._watching = Watching()
        self._arriving = Arriving()
        self._daemon: Daemon | None = None
        self._link: Link | None = None

    def attach(self, daemon: Daemon, link: Link) -> None:
        """Work on ``daemon``; listen and answer on ``link``."""
        self._daemon, self._link = daemon, link
        for name, group in daemon.groups.items():
            # A bundle of the hub that did not load: the configured one runs.
            if name in self.follower.active and self.follower.active[name] != group.digest:
                del self.follower.active[name]
        for name in self.follower.added.keys() - daemon.groups.keys():
            self.follower.lost(name, "it could not be loaded after a restart")
        for subscription in self.follower.subscriptions:
            link.listen(subscription.filter, self._heard)
        link.heed(lambda _token: None, self._online)

    def start(self) -> None:
        """Go on where the last process was interrupted."""
        self._take(self.follower.start(*self._now()))

    def changed(self) -> None:
        """Report which populations there are now, after a change that did not come from the hub."""
        if self._daemon is not None:
            groups = self._daemon.groups.items()
            configured = {
                name: (group.digest, len(group.names)) for name, group in groups if name not in self._arriving
            }
            self._take(self.follower.configure(configured, *self._now()))

    @property
    def deadline(self) -> float:
        """When `turn` has something to do, monotonic seconds."""
        if self._retry_at is not None:
            return self._retry_at
        follower = self.follower.deadline
        watching = self._watching.deadline
        return watching if follower is None else min(watching, follower)

    def turn(self) -> None:
        """Take in news, report health that is due, act on timers."""
        if self._retry_at is not None:
            if self._now()[0] < self._retry_at:
                return
            self._take([])
        for item in self._workshop.news():
            if isinstance(item, Fetched):
                self._fetched(item)
            else:
                self._take(self._verified(item))
        if self._daemon is not None:
            for population in self._watching.due(self._now()[0]):
                self._take(self._report(self._daemon, population))
        deadline = self.follower.deadline
        if deadline is not None and self._now()[0] >= deadline:
            self._take(self.follower.tick(*self._now()))

    def status(self) -> dict[str, Any]:
        """Return what was obeyed and what was refused, in plain types."""
        twin = self.follower.twin
        return {
            "desired": {**twin.counters, "version": twin.version, "trust": twin.trust.version},
            "refused": "" if twin.refused is None else twin.refused.reason,
            "commands": asdict(self.follower.commands.counters),
            "malformed": self.follower.malformed,
            "unsaved": self.unsaved,
            "dropped": self.dropped,
            "rollouts": {n: r.stage.value for n, r in self.follower.rollouts.items()},
        }

    def _now(self) -> tuple[float, float]:
        return self._clock.monotonic(), self._clock.time()

    def _online(self) -> None:
        self._take(self.follower.online(*self._now()))

    def _heard(self, message: Received) -> None:
        if len(self._todo) > MAX_WAITING:  # the disk refuses, and the hub will say it again
            self.dropped += 1
            return
        self._take(self.follower.handle(message, *self._now()))

    def _take(self, effects: Sequence[FollowerEffect]) -> None:
        """Carry effects out, after those that wait; what they lead to comes last."""
        self._todo.extend(effects)
        if self._going_on:
            return
        self._going_on = True
        try:
            while self._todo:
                effect = self._todo[0]
                if isinstance(effect, Save) and not self._saved(effect):
                    return
                self._todo.popleft()
                if not isinstance(effect, Save):
                    self._perform(effect)
        finally:
            self._going_on = False

    def _saved(self, effect: Save) -> bool:
        try:
            self._keeper.write(effect.state)
        except PlatformError as error:
            self.unsaved += 1
            log.error("hub: %s; nothing is obeyed until it can be kept", error)
            self._retry_at = self._now()[0] + RETRY_S
            return False
        self._retry_at = None
        return True

    def _perform(self, effect: FollowerEffect) -> None:
        daemon, link = self._daemon, self._link
        if daemon is None or link is None:
            return
        match effect:
            case Publish(publication):
                link.publish(publication)
            case Write(cut, index, data):
                self._write(cut, index, data)
            case Download(cut):
                self._workshop.download(cut)
            case Verify(population, bundle):
                self._verify(daemon, population, bundle)
            case Shadow(population, bundle):
                self._watching.begin(daemon, population, bundle, False, self._now()[0])
            case Trial(population, bundle):
                log.info("hub: population %s tries bundle %.12s", population, bundle)
                if self._acts(daemon, population, bundle):
                    alone = population in self._arriving
                    self._watching.begin(daemon, population, bundle, alone, self._now()[0])
            case Commit(population, bundle):
                log.info("hub: population %s runs bundle %.12s", population, bundle)
                self._end(daemon, population)
                if population in self._arriving:
                    self._arriving.settle(population, daemon)
                    self.changed()
                daemon.adopt(population, self._workshop.path(bundle))
                link.publish(daemon.birth(True))
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
            case Parameters(values):
                self._parameters(daemon, values)
            case Begin(command):
                self._obey(daemon, command)

    def _write(self, cut: Cut, index: int, data: bytes) -> None:
        try:
            self._workshop.write(cut, index, data)
        except PlatformError as error:
            for population, rollout in list(self.follower.rollouts.items()):
                if rollout.bundle == cut.digest and rollout.stage not in ENDED:
                    self._take(self.follower.failed(population, cut.digest, str(error), *self._now()))

    def _fetched(self, item: Fetched) -> None:
        if item.reason:
            log.warning("hub: %s; the hub is asked for the blocks", item.reason)
            self._take(self.follower.unavailable(item.bundle, *self._now()))
        else:
            self._take(self.follower.fetched(item.bundle, *self._now()))

    def _verify(self, daemon: Daemon, population: str, bundle: str) -> None:
        group, signers = daemon.groups.get(population), self.follower.twin.trust.keys
        config = self.follower.asked_for(population)
        if group is not None:
            self._workshop.verify(group.config, bundle, signers)
        elif config is not None:
            self._workshop.admit(population, config, bundle, signers)
        else:
            reason = f"no population {population!r} here"
            self._take(self.follower.failed(population, bundle, reason, *self._now()))

    def _verified(self, item: Verified) -> list[FollowerEffect]:
        rollout = self.follower.rollouts.get(item.population)
        if rollout is None or rollout.bundle != item.bundle or rollout.stage is not Stage.VERIFYING:
            return []  # another one is desired meanwhile
        reason = item.prepared
        if isinstance(item.prepared, Prepared) and self._daemon is not None:
            config = None
            try:
                if item.population in self._daemon.groups:
                    self._daemon.roster.drop(item.population)
                    self._daemon.roster.stage(item.prepared)
                else:
                    config = self._arriving.expect(item.prepared, self._daemon)
            except EdgeAgentError as error:
                reason = str(error)
            else:
                return self.follower.verified(item.population, item.bundle, *self._now(), config=config)
        return self.follower.failed(item.population, item.bundle, str(reason), *self._now())

    def _report(self, daemon: Daemon, population: str) -> list[FollowerEffect]:
        health, bundle = self._watching.health(daemon, population), self._watching.bundle(population)
        if health is not None:
            return self.follower.health(population, health, *self._now())
        self._watching.end(population)
        return self.follower.failed(population, bundle, "the population was changed meanwhile", *self._now())

    def _acts(self, daemon: Daemon, population: str, bundle: str) -> bool:
        """Let ``bundle`` act; return whether it does."""
        if population not in self._arriving:
            self._act(daemon, population, bundle)
            return True
        reason = self._arriving.begin(population, daemon)
        if reason:
            self._take(self.follower.failed(population, bundle, reason, *self._now()))
        return not reason

    def _act(self, daemon: Daemon, population: str, bundle: str) -> None:
        """Let ``bundle`` act, if it is the shadow."""
        group = daemon.groups.get(population)
        if group is not None and group.shadow is not None and group.shadow.digest == bundle:
            daemon.exchange(population)

    def _end(self, daemon: Daemon, population: str) -> None:
        self._watching.end(population)
        if population in daemon.groups:
            daemon.roster.drop(population)
        rollouts = self.follower.rollouts.values()
        underway = {rollout.bundle for rollout in rollouts if rollout.stage not in ENDED}
        self._workshop.keep(underway | set(self.follower.active.values()))

    def _parameters(self, daemon: Daemon, values: Mapping[str, Any]) -> None:
        seconds = values.get("telemetry_seconds")
        if isinstance(seconds, (int, float)) and seconds >= MIN_TELEMETRY_S and daemon.parts.uplink:
            daemon.parts.uplink.telemetry.seconds = float(seconds)

    def _obey(self, daemon: Daemon, command: Command) -> None:
        try:
            result = obey(daemon, self._tools, command)
        except EdgeAgentError as error:
            effects = self.follower.finished(command.id, False, *self._now(), reason=str(error))
        else:
            effects = self.follower.finished(command.id, True, *self._now(), result=result)
        log.info("hub: command %s %s", command.name, command.id)
        self._take(effects)
