"""Builds the daemon: populations, schedule, loop and publishers.

A `DaemonBuilder` takes the ports and makes the objects that every daemon has. Each method adds an optional
part. `build` adds the populations and returns the daemon. Only ``run`` and tests use it; no object of the
daemon refers to the builder.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from edge_agent.commands.output import set_log_level
from edge_agent.protocol.ports import Clock, MqttClient
from edge_agent.protocol.session import Session, SessionSettings
from edge_agent.runtime.assembly import Prepared
from edge_agent.runtime.daemon import Daemon, Speaker
from edge_agent.runtime.governor.governor_driver import GovernorDriver
from edge_agent.runtime.mqtt_dispatch import MqttDispatch
from edge_agent.runtime.population.action_publisher import ActionPublisher
from edge_agent.runtime.population.subscriptions import Subscriptions
from edge_agent.runtime.populations import Populations
from edge_agent.runtime.recording.recorder import Recorder, RecordingFile
from edge_agent.runtime.reporting.birth import Birth
from edge_agent.runtime.reporting.status import Status
from edge_agent.runtime.scheduler import Scheduler
from edge_agent.runtime.step_schedule import StepSchedule
from edge_agent.runtime.tick import PopulationTick
from edge_agent.wire.topics import DeviceTopics

if TYPE_CHECKING:
    from edge_agent.config.profile import Profile
    from edge_agent.config.records import DeviceConfig
    from edge_agent.protocol.hub_client import HubClient
    from edge_agent.protocol.outbox import Outbox
    from edge_agent.protocol.telemetry import Telemetry
    from edge_agent.runtime.governor.governor import BoardReadings, Governor
    from edge_agent.runtime.peers.coordinator import PeerCoordinator
    from edge_agent.runtime.peers.loans import LoanKeys
    from edge_agent.runtime.population.actuators import Sink
    from edge_agent.runtime.population.checkpoint import Checkpoints, StateStore
    from edge_agent.runtime.reporting.agent_samples import AgentSamples
    from edge_agent.runtime.reporting.agent_states import AgentStates
    from edge_agent.runtime.reporting.health_figures import BoardHealth
    from edge_agent.runtime.reporting.home_assistant import HomeAssistantPublisher
    from edge_agent.runtime.reporting.learned_publisher import LearnedPublisher
    from edge_agent.runtime.reporting.telemetry_publisher import TelemetryPublisher
    from edge_agent.runtime.rollout.bundle_port import BundlePort
    from edge_agent.runtime.rollout.command_handlers import CommandTools
    from edge_agent.runtime.rollout.configuration_port import ConfigurationPort
    from edge_agent.runtime.rollout.effect_queue import DeviceStore
    from edge_agent.runtime.rollout.hub_driver import HubDriver
    from edge_agent.runtime.rollout.package_update import InstallerPort


class DaemonBuilder:
    """Makes the parts that every daemon has; its methods add optional parts.

    Parameters
    ----------
    populations : Populations
        Still empty.
    clock : Clock
        Time.
    rss : callable
        Returns the bytes of the process in memory.
    client : MqttClient, optional
        The broker's side; without one the daemon works alone.
    boot : str
        Unique to this start of the process.
    lost_state : sequence of str
        A line for each file of state that could not be used.
    sinks : mapping of str to Sink
        Take the actions that do not go to MQTT.
    jitter : random.Random, optional
        Spreads reconnections.
    session : SessionSettings, optional
        Times of the session.
    max_recording_bytes : int
        Bytes of a recording, both segments together.
    """

    def __init__(
        self,
        populations: Populations,
        clock: Clock,
        rss: Callable[[], int],
        *,
        client: MqttClient | None = None,
        boot: str = "",
        lost_state: Sequence[str] = (),
        sinks: Mapping[str, Sink] | None = None,
        jitter: random.Random | None = None,
        session: SessionSettings | None = None,
        max_recording_bytes: int = 0,
    ) -> None:
        device = populations.config.device
        self.populations = populations
        self.clock = clock
        self.topics = DeviceTopics(device.fleet, device.name)
        self.scheduler = Scheduler()
        self.schedule = StepSchedule(self.scheduler, populations, clock)
        self.recorder = Recorder(max_recording_bytes)
        self.birth = Birth(self.topics, populations, boot, lost_state, rss, clock)
        self.dispatch: MqttDispatch | None = None
        self.subscriptions: Subscriptions | None = None
        if client is not None:
            rng = jitter or random.Random()  # noqa: S311 - spreads reconnections
            machine = Session(session or SessionSettings(), self.birth.message, [], rng)
            self.dispatch = MqttDispatch(machine, client, clock)
            self.subscriptions = Subscriptions(self.topics, populations, self.dispatch)
        self.actions = ActionPublisher(self.topics, sinks or {}, clock, self.dispatch)
        self.tick = PopulationTick(populations, self.actions, self.recorder, clock)
        self.status = Status(
            populations,
            self.schedule,
            self.tick,
            self.recorder,
            clock,
            rss,
            self.dispatch,
            self.subscriptions,
        )
        self.peers: PeerCoordinator | None = None
        self.hub: HubDriver | None = None
        self.telemetry: TelemetryPublisher | None = None
        self.learned: LearnedPublisher | None = None
        self.governor: GovernorDriver | None = None
        self.home_assistant: HomeAssistantPublisher | None = None
        self._rss = rss
        self._speakers: list[Speaker] = []
        populations.added += [self.schedule.begin, self.recorder.begin]
        populations.removed.append(self.schedule.end)
        populations.suspended.append(self.tick.hold)
        populations.restarted.append(self.recorder.begin)
        if self.subscriptions is not None:
            populations.added.append(self.subscriptions.begin)
            populations.removed.append(self.subscriptions.end)

    def govern(self, governor: Governor, readings: Callable[[], BoardReadings]) -> None:
        """Reduce the load when the board is overloaded; ``readings`` reads its sensors."""
        driver = GovernorDriver(
            governor, self.populations, self.schedule, self.recorder, readings, self._rss, self.clock
        )
        self.governor = driver
        self.populations.added.append(driver.admit)
        self.status.sections["governor"] = driver.status

    def join_peers(
        self,
        battery: Callable[[], float | None],
        keys: LoanKeys | None = None,
        profile: Profile | None = None,
        store: StateStore | None = None,
    ) -> None:
        """Work with peers; with ``keys`` and ``profile`` populations are lent and taken in."""
        if self.dispatch is None:
            return
        from edge_agent.runtime.peers.coordinator import PeerCoordinator

        peers = PeerCoordinator(
            self.populations.config,
            self.populations,
            self.schedule,
            self.recorder,
            self.dispatch,
            self.clock,
            battery,
            keys,
            profile,
            store,
        )
        self.peers = peers
        self.birth.incarnation = peers.incarnation
        self.tick.share(peers.shared)
        self.status.sections["peers"] = peers.status.status
        self._speakers.append(peers)

    def connect_hub(
        self,
        client: HubClient,
        store: DeviceStore,
        bundles: BundlePort,
        checker: ConfigurationPort,
        tools: CommandTools,
        installer: InstallerPort | None = None,
    ) -> None:
        """Carry out what the hub signs; with ``installer``, updates of the daemon as well."""
        if self.dispatch is None:
            return
        from edge_agent.runtime.recording.agent_counters import AgentCounters
        from edge_agent.runtime.recording.decision_watch import DecisionWatch
        from edge_agent.runtime.rollout.command_handlers import CommandHandlers
        from edge_agent.runtime.rollout.configuration_stages import ConfigurationStages
        from edge_agent.runtime.rollout.hub_driver import HubDriver
        from edge_agent.runtime.rollout.package_update import PackageUpdate
        from edge_agent.runtime.rollout.stages import RolloutStages

        populations, schedule = self.populations, self.schedule
        package = None
        if installer is not None:
            package = PackageUpdate(client, installer, bundles.complete, self.clock)
        stages = RolloutStages(client, bundles, populations, schedule, self._rss, self.clock, package)
        configuration = ConfigurationStages(
            client, checker, populations, schedule, self._apply_device, self._rss, self.clock
        )
        watch, counters = DecisionWatch(), AgentCounters(self.clock)
        self.tick.watches = (watch, counters)
        handlers = CommandHandlers(
            populations, schedule, self.recorder, self.status, tools, watch, counters, self.clock
        )
        driver = HubDriver(
            client,
            store,
            bundles,
            stages,
            configuration,
            handlers,
            populations,
            self.dispatch,
            self._set_telemetry_seconds,
            self.clock,
        )
        self.hub = driver
        self.status.sections["hub"] = driver.status
        self._speakers.append(driver)

    def publish_telemetry(
        self,
        telemetry: Telemetry,
        outbox: Outbox,
        damaged: Callable[[], int] = lambda: 0,
        board: BoardHealth | None = None,
        samples: AgentSamples | None = None,
    ) -> None:
        """Report counters, the board's health and the samples of chosen agents through ``outbox``."""
        if self.dispatch is None:
            return
        from edge_agent.runtime.reporting.health_figures import HealthFigures
        from edge_agent.runtime.reporting.telemetry_publisher import TelemetryPublisher

        publisher = TelemetryPublisher(
            telemetry,
            outbox,
            damaged,
            topics=self.topics,
            populations=self.populations,
            schedule=self.schedule,
            dispatch=self.dispatch,
            clock=self.clock,
            rss=self._rss,
            peer_figures=None if self.peers is None else self.peers.status.figures,
            health=None if board is None else HealthFigures(board, self.governor, lambda: outbox.backlog),
            samples=samples,
        )
        self.telemetry = publisher
        self.status.sections["telemetry"] = publisher.status
        self._speakers.append(publisher)

    def _publish_learned(self, checkpoints: Checkpoints | None) -> None:
        """Send what populations learn to the hub, through the outbox of telemetry."""
        if self.telemetry is None:
            return
        from edge_agent.runtime.reporting.learned_publisher import LearnedPublisher

        def save() -> bool:
            if checkpoints is None:
                return True  # nothing is kept that could be counted again
            before = checkpoints.counters.failed
            checkpoints.write(self.populations.groups, self.clock)
            return checkpoints.counters.failed == before

        waiting = [] if checkpoints is None else checkpoints.epochs
        publisher = LearnedPublisher(self.populations, self.telemetry.outbox, save, self.clock, waiting)
        self.learned = publisher
        self.status.sections["learned"] = publisher.status
        self._speakers.append(publisher)

    def send_learned(self, name: str | None) -> dict[str, int]:
        """Send what a population learned, or each; return the messages of each."""
        return {} if self.learned is None else self.learned.send(name)

    def show_home_assistant(self, prefix: str, seconds: float, store: StateStore | None = None) -> None:
        """Announce the device to Home Assistant; an empty prefix takes an earlier announcement back."""
        dispatch = self.dispatch
        if dispatch is None:
            return
        from edge_agent.runtime.reporting.home_assistant import HomeAssistantPublisher

        def make_agents() -> AgentStates:
            return self._show_agents(dispatch, store)

        publisher = HomeAssistantPublisher(
            prefix,
            seconds,
            topics=self.topics,
            store=store,
            populations=self.populations,
            schedule=self.schedule,
            dispatch=dispatch,
            clock=self.clock,
            figures=self._device_figures,
            make_agents=make_agents,
        )
        self.home_assistant = publisher
        self._speakers.append(publisher)

    def _show_agents(self, dispatch: MqttDispatch, store: StateStore | None) -> AgentStates:
        """Make what shows agents in Home Assistant and takes overrides from there."""
        from edge_agent.runtime.population.overrides import Overrides
        from edge_agent.runtime.reporting.agent_states import AgentStates

        populations = self.populations
        overrides = Overrides(populations, self.actions, self.recorder, self.clock, self.online, store)
        states = AgentStates(self.topics, populations, overrides, dispatch, self.clock)
        self.actions.watchers.append(states.decided)
        self.status.sections["overrides"] = overrides.status
        populations.added += [overrides.begin, states.begin]
        populations.resumed.append(overrides.begin)
        populations.suspended.insert(0, overrides.lift)  # before safe values are sent
        dispatch.listen_pattern(self.topics.override("+"), overrides.message, 1)
        return states

    def build(
        self,
        prepared: Sequence[Prepared],
        *,
        checkpoints: Checkpoints | None = None,
        recording_file: RecordingFile | None = None,
        tidy: Callable[[], None] | None = None,
        speakers: Sequence[Speaker] = (),
    ) -> Daemon:
        """Make the populations and return the daemon."""
        if checkpoints is not None:
            self.status.sections["checkpoint"] = checkpoints.status
        self.populations.change(prepared, [])
        self._publish_learned(checkpoints)
        if self.hub is not None:
            self.populations.changed.append(self.hub.changed)
        if self.peers is not None:
            self.populations.changed.append(self.peers.changed)
            self.populations.exchanged.append(self.peers.changed)
        if self.home_assistant is not None:
            self.populations.changed.append(self.home_assistant.changed)
            self.populations.exchanged.append(self.home_assistant.changed)
        if self.dispatch is not None:
            self.populations.changed.append(self._announce)
            self.populations.adopted.append(self._announce)
        return Daemon(
            self.populations,
            self.scheduler,
            self.schedule,
            self.tick,
            self.recorder,
            self.clock,
            dispatch=self.dispatch,
            subscriptions=self.subscriptions,
            speakers=(*self._speakers, *speakers),
            governor=self.governor,
            checkpoints=checkpoints,
            recording_file=recording_file,
            tidy=tidy,
        )

    def online(self) -> bool:
        """Whether messages reach the broker now."""
        return self.dispatch is not None and self.dispatch.online

    def _announce(self) -> None:
        if self.dispatch is not None and self.dispatch.online:
            self.dispatch.publish(self.birth.message(True))

    def _set_telemetry_seconds(self, seconds: float) -> None:
        if self.telemetry is not None:
            self.telemetry.telemetry.seconds = seconds

    def _apply_device(self, device: DeviceConfig) -> None:
        self._set_telemetry_seconds(device.telemetry_s)
        set_log_level(device.log_level)

    def _device_figures(self) -> dict[str, object]:
        return {
            "rss": self._rss(),
            "rung": "full" if self.governor is None else self.governor.governor.name,
            "backlog": 0 if self.telemetry is None else self.telemetry.outbox.backlog,
        }
