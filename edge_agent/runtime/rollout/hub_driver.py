"""The hub's documents and commands at work on this device: carries out what ``protocol.hub_client`` decides.

Theory of operation. Signed messages go to the follower as they arrive; its effects are carried out in order
(`runtime.rollout.effect_queue`). Rollouts have their stages (`runtime.rollout.stages`), commands are obeyed
(`runtime.rollout.command_handlers`). What takes time, reading and verifying a bundle or downloading one, is
done by the workshop in threads, and its news come back in `HubDriver.turn`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from edge_agent.errors import EdgeAgentError, PlatformError
from edge_agent.protocol.command_guard import Begin, Command
from edge_agent.protocol.hub_client import Download, HubClient, HubEffect, Leave, Parameters, Publish
from edge_agent.protocol.ports import Clock, Received
from edge_agent.protocol.rollout import ENDED, Commit, RollBack, StartShadow, Trial, Verify
from edge_agent.protocol.transfer import Write
from edge_agent.runtime.mqtt_dispatch import MqttDispatch
from edge_agent.runtime.rollout.bundle_port import BundlePort, Fetched
from edge_agent.runtime.rollout.command_handlers import CommandTools, obey
from edge_agent.runtime.rollout.effect_queue import DeviceStore, EffectQueue
from edge_agent.runtime.rollout.stages import RolloutStages
from edge_agent.wire.blocks import Cut

if TYPE_CHECKING:
    from edge_agent.runtime.daemon import Daemon

log = logging.getLogger("edge_agent")

MIN_TELEMETRY_S = 0.1


class HubDriver:
    """The follower's hands; see the module's head.

    Parameters
    ----------
    follower : HubClient
        Who decides.
    keeper, workshop, tools, clock
        The outside.
    """

    def __init__(
        self,
        follower: HubClient,
        keeper: DeviceStore,
        workshop: BundlePort,
        tools: CommandTools,
        clock: Clock,
    ) -> None:
        self.follower = follower
        self.dropped = 0
        self._workshop = workshop
        self._tools = tools
        self._clock = clock
        self._agenda = EffectQueue(keeper, self._perform, clock)
        self._staging = RolloutStages(follower, workshop, clock)
        self._daemon: Daemon | None = None
        self._link: MqttDispatch | None = None

    def attach(self, daemon: Daemon, link: MqttDispatch) -> None:
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
        self._agenda.take(self.follower.start(*self._now()))

    def changed(self) -> None:
        """Report which populations there are now, after a change that did not come from the hub."""
        if self._daemon is not None:
            settled = self._staging.settled(self._daemon)
            self._agenda.take(self.follower.configure(settled, *self._now()))

    @property
    def deadline(self) -> float:
        """When `turn` has something to do, monotonic seconds."""
        if self._agenda.retry_at is not None:
            return self._agenda.retry_at
        follower, staging = self.follower.deadline, self._staging.deadline
        return staging if follower is None else min(staging, follower)

    def turn(self) -> None:
        """Take in news, report health that is due, act on timers."""
        retry_at, daemon = self._agenda.retry_at, self._daemon
        if retry_at is not None:
            if self._clock.monotonic() < retry_at:
                return
            self._agenda.take([])
        for item in self._workshop.news():
            if isinstance(item, Fetched):
                self._fetched(item)
            elif daemon is not None:
                self._agenda.take(self._staging.verified(daemon, item))
        if daemon is not None:
            for effects in self._staging.reports(daemon):
                self._agenda.take(effects)
        deadline = self.follower.deadline
        if deadline is not None and self._clock.monotonic() >= deadline:
            self._agenda.take(self.follower.tick(*self._now()))

    def status(self) -> dict[str, Any]:
        """Return what was obeyed and what was refused, in plain types."""
        twin = self.follower.twin
        return {
            "desired": {**twin.counters, "version": twin.version, "trust": twin.trust.version},
            "refused": "" if twin.refused is None else twin.refused.reason,
            "commands": asdict(self.follower.commands.counters),
            "malformed": self.follower.malformed,
            "unsaved": self._agenda.unsaved,
            "dropped": self.dropped,
            "rollouts": {n: r.stage.value for n, r in self.follower.rollouts.items()},
        }

    def _now(self) -> tuple[float, float]:
        return self._clock.monotonic(), self._clock.time()

    def _online(self) -> None:
        self._agenda.take(self.follower.online(*self._now()))

    def _heard(self, message: Received) -> None:
        if self._agenda.full:  # the disk refuses, and the hub will say it again
            self.dropped += 1
            return
        self._agenda.take(self.follower.handle(message, *self._now()))

    def _perform(self, effect: HubEffect) -> None:
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
            case Verify() | StartShadow() | Trial() | Commit() | RollBack() | Leave():
                self._agenda.take(self._staging.perform(daemon, effect))
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
                    failed = self.follower.failed(population, cut.digest, str(error), *self._now())
                    self._agenda.take(failed)

    def _fetched(self, item: Fetched) -> None:
        if item.reason:
            log.warning("hub: %s; the hub is asked for the blocks", item.reason)
            self._agenda.take(self.follower.unavailable(item.bundle, *self._now()))
        else:
            self._agenda.take(self.follower.fetched(item.bundle, *self._now()))

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
        self._agenda.take(effects)
