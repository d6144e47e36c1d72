"""The rollout of a configuration on the running daemon: checked, watched, on trial, kept or undone.

Theory of operation. A hub sets only what takes effect between two steps (`config.remote`), so the trial
applies it at once and undoing it takes back the configuration before, also offline. What changed otherwise
meanwhile (a reload, populations that came or went) ends the rollout: it was checked for what ran before.
After a power cut the daemon starts with what was committed, and the stages are gone through again
(`protocol.rollout`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

from edge_agent.config.records import Config, DeviceConfig
from edge_agent.config.remote import with_settable
from edge_agent.errors import ConfigError
from edge_agent.memory.budget import Plan
from edge_agent.protocol.hub_client import HubClient
from edge_agent.protocol.hub_effects import HubEffect
from edge_agent.protocol.ports import Clock
from edge_agent.protocol.remote_configuration import CONFIGURATION
from edge_agent.protocol.rollout import Commit, RollBack, RolloutEffect, Stage, StartShadow, Trial, Verify
from edge_agent.runtime.populations import Populations
from edge_agent.runtime.rollout.configuration_health import ConfigurationHealth
from edge_agent.runtime.rollout.configuration_port import Checked, ConfigurationPort, PlannedConfiguration
from edge_agent.runtime.step_schedule import StepSchedule

log = logging.getLogger("edge_agent")

Effects = list[HubEffect]


class ConfigurationStages:
    """The rollout of a configuration.

    Parameters
    ----------
    client : HubClient
        Who decides.
    checker : ConfigurationPort
        Checks values in a thread.
    populations, schedule : Populations, StepSchedule
        What runs, and its pace.
    apply_device : callable
        Lets the section ``device`` take effect.
    rss : callable
        Returns the bytes of the process in memory.
    clock : Clock
        Monotonic and Unix time.
    """

    def __init__(
        self,
        client: HubClient,
        checker: ConfigurationPort,
        populations: Populations,
        schedule: StepSchedule,
        apply_device: Callable[[DeviceConfig], None],
        rss: Callable[[], int],
        clock: Clock,
    ) -> None:
        self._client = client
        self._checker = checker
        self._populations = populations
        self._schedule = schedule
        self._apply_device = apply_device
        self._clock = clock
        self._health = ConfigurationHealth(populations, schedule, rss)
        self._checked_for: Config | None = None
        self._candidate: PlannedConfiguration | None = None
        self._before: tuple[Config, Plan] | None = None
        self._tried: Config | None = None

    @property
    def deadline(self) -> float:
        """When `reports` has something to say, monotonic seconds."""
        return self._health.deadline

    @property
    def on_trial(self) -> bool:
        """Whether values apply that may be taken back."""
        return self._before is not None

    def perform(self, effect: RolloutEffect) -> Effects:
        """Carry out what the hub client asks for."""
        now = self._clock.monotonic()
        match effect:
            case Verify(_, digest):
                self._checked_for, self._candidate = self._populations.config, None
                self._checker.check(digest, self._client.configuration.wanted, self._populations.plan)
            case StartShadow():
                self._health.begin_shadow(now)
            case Trial(_, digest):
                return self._try(digest, now)
            case Commit():
                log.info("hub: the configuration of the hub is kept")
                self._end()
            case RollBack(_, _, reason):
                log.warning("hub: the configuration of the hub is not kept: %s", reason)
                if self._before is not None:
                    self._undo(*self._before)
                self._end()
        return []

    def run_once(self) -> Iterator[Effects]:
        """Take in what was checked, and tell how the device does if that is due."""
        for item in self._checker.news():
            yield self._checked(item)
        now = self._clock.monotonic()
        if now < self._health.deadline:
            return
        if self.on_trial and self._populations.config is not self._tried:
            yield self._failed(self._digest, "the configuration was changed meanwhile")
            return
        health = self._health.look(now)
        yield self._client.health(CONFIGURATION, health, *self._now())

    @property
    def _digest(self) -> str:
        rollout = self._client.rollouts.get(CONFIGURATION)
        return "" if rollout is None else rollout.bundle

    def _checked(self, item: Checked) -> Effects:
        rollout = self._client.rollouts.get(CONFIGURATION)
        if rollout is None or rollout.bundle != item.digest or rollout.stage is not Stage.VERIFYING:
            return []  # another one is desired meanwhile
        if isinstance(item.result, str):
            return self._failed(item.digest, item.result)
        self._candidate = item.result
        return self._client.verified(CONFIGURATION, item.digest, *self._now())

    def _try(self, digest: str, now: float) -> Effects:
        running, plan = self._populations.config, self._populations.plan
        if self._candidate is None or running is not self._checked_for:
            return self._failed(digest, "the configuration was changed meanwhile")
        try:
            self._tried = with_settable(running, self._candidate.config)
        except ConfigError as error:
            return self._failed(digest, str(error))
        log.info("hub: the trial of a configuration starts")
        self._health.begin_trial(now)
        self._before = running, plan
        self._apply(self._tried, self._candidate.plan)
        return []

    def _apply(self, config: Config, plan: Plan) -> None:
        for name in self._populations.configure(config, plan):
            self._schedule.renew(name)
        self._apply_device(config.device)

    def _undo(self, config: Config, plan: Plan) -> None:
        if self._populations.config is self._tried:
            self._apply(config, plan)
        else:  # a reload has put populations of its own in their place
            self._apply_device(config.device)

    def _end(self) -> None:
        self._health.end()
        self._before = self._candidate = self._tried = self._checked_for = None

    def _failed(self, digest: str, reason: str) -> Effects:
        return self._client.failed(CONFIGURATION, digest, reason, *self._now())

    def _now(self) -> tuple[float, float]:
        return self._clock.monotonic(), self._clock.time()
