"""Carries out the effects of ``protocol.hub_client`` on this device.

Theory of operation. Signed messages go to the hub client as they arrive; its effects are carried out in order
(`runtime.rollout.effect_queue`). `runtime.rollout.stages` runs rollouts of bundles,
`runtime.rollout.configuration_stages` those of configurations, and
`runtime.rollout.command_handlers` runs commands. Slow work (reading, verifying or downloading a bundle) runs
in the threads of the bundle worker; `HubDriver.run_once` collects the results.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict
from itertools import chain
from typing import Any

from edge_agent.errors import EdgeAgentError, PlatformError
from edge_agent.protocol import remote_configuration
from edge_agent.protocol.command_guard import Begin, Command
from edge_agent.protocol.hub_client import HubClient
from edge_agent.protocol.hub_effects import Download, HubEffect, Leave, Parameters, Publish, Warn
from edge_agent.protocol.ports import Clock, Received
from edge_agent.protocol.rollout import ENDED, Commit, RollBack, StartShadow, Trial, Verify
from edge_agent.protocol.transfer import Write
from edge_agent.protocol.twin import TELEMETRY_SECONDS
from edge_agent.runtime.mqtt_dispatch import MqttDispatch
from edge_agent.runtime.populations import Populations
from edge_agent.runtime.rollout.bundle_port import BundlePort, Completed, Fetched
from edge_agent.runtime.rollout.command_handlers import LATER, CommandHandlers
from edge_agent.runtime.rollout.configuration_stages import ConfigurationStages
from edge_agent.runtime.rollout.effect_queue import DeviceStore, EffectQueue
from edge_agent.runtime.rollout.stages import RolloutStages
from edge_agent.wire.blocks import Cut

log = logging.getLogger("edge_agent")


class HubDriver:
    """Carries out the hub client's effects; see the module's head.

    Parameters
    ----------
    client : HubClient
        Who decides.
    store : DeviceStore
        Keeps the client's state.
    bundles : BundlePort
        Where bundles arrive.
    stages : RolloutStages
        Rollouts on the running populations.
    configuration : ConfigurationStages
        The rollout of a configuration.
    handlers : CommandHandlers
        Carries commands out.
    populations : Populations
        What runs.
    dispatch : MqttDispatch
        Listens and publishes.
    set_telemetry_seconds : callable
        Sets the seconds between two telemetry messages.
    clock : Clock
        Time.
    """

    def __init__(
        self,
        client: HubClient,
        store: DeviceStore,
        bundles: BundlePort,
        stages: RolloutStages,
        configuration: ConfigurationStages,
        handlers: CommandHandlers,
        populations: Populations,
        dispatch: MqttDispatch,
        set_telemetry_seconds: Callable[[float], None],
        clock: Clock,
    ) -> None:
        self.client = client
        self.dropped = 0
        self.failed_downloads = 0
        self._bundles = bundles
        self._stages = stages
        self._configuration = configuration
        self._handlers = handlers
        self._populations = populations
        self._dispatch = dispatch
        self._set_telemetry_seconds = set_telemetry_seconds
        self._clock = clock
        self._queue = EffectQueue(store, self._perform, clock)
        for subscription in client.subscriptions:
            dispatch.listen(subscription.filter, self._on_message)
        dispatch.add_callbacks(lambda _token: None, self._online)

    def start(self) -> None:
        """Go on where the last process was interrupted."""
        client, groups = self.client, self._populations.groups
        for name, group in groups.items():
            # A bundle of the hub that did not load: the configured one runs.
            if name in client.active and client.active[name] != group.digest:
                del client.active[name]
        for name in client.added.keys() - groups.keys():
            client.lost(name, "it could not be loaded after a restart")
        self._queue.add(client.start(*self._now()))

    def stop(self) -> None:
        """Nothing to say at the end: the state is on disk."""

    def changed(self) -> None:
        """Report which populations there are now, after a change that did not come from the hub."""
        self._queue.add(self.client.configure(self._stages.settled(), *self._now()))

    @property
    def reload_waits(self) -> bool:
        """Whether a configuration is on trial that a reload would take for the one to keep."""
        return self._configuration.on_trial

    @property
    def deadline(self) -> float:
        """When `run_once` has something to do, monotonic seconds."""
        if self._queue.retry_at is not None:
            return self._queue.retry_at
        others = (self._stages.deadline, self._configuration.deadline, self._handlers.deadline)
        return min(others) if self.client.deadline is None else min(*others, self.client.deadline)

    def run_once(self) -> None:
        """Take in news, report health that is due, act on timers."""
        retry_at = self._queue.retry_at
        if retry_at is not None:
            if self._clock.monotonic() < retry_at:
                return
            self._queue.add([])
        self._handlers.run_once()
        for item in self._bundles.news():
            if isinstance(item, Fetched):
                self._fetched(item)
            elif isinstance(item, Completed):
                if self._stages.package is not None:
                    self._queue.add(self._stages.package.completed(item))
            else:
                self._queue.add(self._stages.verified(item))
        for effects in chain(self._stages.reports(), self._configuration.run_once()):
            self._queue.add(effects)
        deadline = self.client.deadline
        if deadline is not None and self._clock.monotonic() >= deadline:
            self._queue.add(self.client.tick(*self._now()))

    def status(self) -> dict[str, Any]:
        """Return the document in force and the last refusal, in plain types."""
        twin = self.client.twin
        return {
            "desired": {**twin.counters, "version": twin.version, "trust": twin.trust.version},
            "refused": "" if twin.refused is None else twin.refused.reason,
            "commands": asdict(self.client.commands.counters),
            "malformed": self.client.malformed,
            "unsaved": self._queue.unsaved,
            "dropped": self.dropped,
            "failed_downloads": self.failed_downloads,
            "rollouts": {n: r.stage.value for n, r in self.client.rollouts.items()},
        }

    def _now(self) -> tuple[float, float]:
        return self._clock.monotonic(), self._clock.time()

    def _online(self) -> None:
        self._queue.add(self.client.online(*self._now()))

    def _on_message(self, message: Received) -> None:
        if self._queue.full:  # the disk refuses, and the hub will say it again
            self.dropped += 1
            return
        version = self.client.twin.version
        effects = self.client.handle(message, *self._now())
        if self.client.twin.version != version and self._stages.package is not None:
            self._stages.package.keep(message.payload)
        self._queue.add(effects)

    def _perform(self, effect: HubEffect) -> None:
        match effect:
            case Publish(publication):
                self._dispatch.publish(publication)
            case Write(cut, index, data):
                self._write(cut, index, data)
            case Download(cut):
                self._bundles.download(cut)
            case (
                Verify(population=remote_configuration.CONFIGURATION)
                | StartShadow(population=remote_configuration.CONFIGURATION)
                | Trial(population=remote_configuration.CONFIGURATION)
                | Commit(population=remote_configuration.CONFIGURATION)
                | RollBack(population=remote_configuration.CONFIGURATION)
            ):
                self._queue.add(self._configuration.perform(effect))
            case Verify() | StartShadow() | Trial() | Commit() | RollBack() | Leave():
                self._queue.add(self._stages.perform(effect))
            case Parameters(values):
                self._parameters(values)
            case Begin(command):
                self._run_command(command)
            case Warn(text):
                log.warning("hub: %s", text)

    def _write(self, cut: Cut, index: int, data: bytes) -> None:
        try:
            self._bundles.write(cut, index, data)
        except PlatformError as error:
            for population, rollout in list(self.client.rollouts.items()):
                if rollout.bundle == cut.digest and rollout.stage not in ENDED:
                    failed = self.client.failed(population, cut.digest, str(error), *self._now())
                    self._queue.add(failed)

    def _fetched(self, item: Fetched) -> None:
        if item.reason:
            self.failed_downloads += 1
            log.warning("hub: %s; the hub is asked for the blocks", item.reason)
            self._queue.add(self.client.unavailable(item.bundle, *self._now()))
        else:
            self._queue.add(self.client.fetched(item.bundle, *self._now()))

    def _parameters(self, values: Mapping[str, Any]) -> None:
        seconds, (low, high) = values.get("telemetry_seconds"), TELEMETRY_SECONDS
        if isinstance(seconds, (int, float)) and low <= seconds <= high:
            self._set_telemetry_seconds(float(seconds))

    def _run_command(self, command: Command) -> None:
        def finish(result: dict[str, Any] | EdgeAgentError) -> None:
            refused = isinstance(result, EdgeAgentError)
            outcome = {"reason": str(result)} if refused else {"result": result}
            self._queue.add(self.client.finished(command.id, not refused, *self._now(), **outcome))

        log.info("hub: command %s %s", command.name, command.id)
        try:
            if command.name in LATER:
                self._handlers.begin(command, finish)
                return
            result = self._handlers.run_command(command)
        except EdgeAgentError as error:
            finish(error)
        else:
            finish(result)
