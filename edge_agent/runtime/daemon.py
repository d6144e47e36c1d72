"""The daemon: one loop that takes messages in, steps populations at their time, and sends actions out.

Theory of operation. `Daemon.turn` is the whole loop body; it never waits. What is new at the link goes to the
populations it is for; whoever is due by the scheduler runs; the result is the time of the next deadline,
until which the caller may wait for the wake-up descriptor. Time, link, sinks and process figures are handed
in, so that a test can run a week of turns with a manual clock.

The path of an observation: `MqttDispatch.poll` (newest payload of each topic) → `Subscriptions` (whose it is)
→ `Inputs` (JSON pointer, bins) → `Observations` (int16 column) → `StepSchedule` (now for arrivals, else at
the tick) → `PopulationTick` → `Group.step` (kernel) → `ActionPublisher` and `Actuator` (changes only) →
`MqttDispatch.publish`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from edge_agent import __version__
from edge_agent.config.records import Config
from edge_agent.memory.budget import Plan
from edge_agent.protocol.ports import Clock, Publication
from edge_agent.runtime.assembly import Prepared
from edge_agent.runtime.governor.governor_driver import GovernorDriver
from edge_agent.runtime.mqtt_dispatch import MqttDispatch
from edge_agent.runtime.parts import Parts
from edge_agent.runtime.population.action_publisher import ActionPublisher
from edge_agent.runtime.population.group import Group
from edge_agent.runtime.population.subscriptions import Subscriptions
from edge_agent.runtime.populations import Populations
from edge_agent.runtime.reporting import status
from edge_agent.runtime.scheduler import Scheduler, Task
from edge_agent.runtime.step_schedule import POLL, STEP, WATCH, WATCH_S, StepSchedule
from edge_agent.runtime.tick import PopulationTick
from edge_agent.wire import bodies
from edge_agent.wire.messages import Message, encode
from edge_agent.wire.topics import DeviceTopics

TIDY_S = 30.0
CHECKPOINT, TIDY, GOVERN = "checkpoint", "tidy", "govern"


class Daemon:
    """Populations, link and scheduler.

    Parameters
    ----------
    config : Config
        The device's configuration.
    roster : Populations
        The populations at work.
    plan : Plan
        The memory plan, for status.
    clock : Clock
        Time.
    parts : Parts
        What touches the outside.
    """

    def __init__(self, config: Config, roster: Populations, plan: Plan, clock: Clock, parts: Parts) -> None:
        self.config = config
        self.roster = roster
        self.plan = plan
        self.parts = parts
        self.topics = DeviceTopics(config.device.fleet, config.device.name)
        self.link: MqttDispatch | None = None
        self.completed = 0
        self.clock = clock
        self._speakers = parts.speakers
        self._started = clock.monotonic()
        self._scheduler = Scheduler()
        self._outlet = ActionPublisher(self.topics, parts.sinks, clock)
        self.subscriptions = Subscriptions(self.topics, roster.groups)
        self.stepping = PopulationTick(roster.groups, parts, self._outlet, clock)
        self.pacing = StepSchedule(self._scheduler, roster.groups, clock)
        self._governing: GovernorDriver | None = None
        for name in self.groups:
            self.pacing.begin(name, self._started)
        if parts.checkpoints is not None:
            self._scheduler.every(CHECKPOINT, config.device.checkpoint_s, self._started)
        if parts.tidy is not None:
            self._scheduler.every(TIDY, TIDY_S, self._started)
        if parts.governor is not None:
            self._scheduler.every(GOVERN, WATCH_S, self._started)
            self._governing = GovernorDriver(
                parts.governor, roster.groups, parts, plan.budget, self.pacing, self.stepping, clock
            )

    def attach(self, link: MqttDispatch) -> None:
        """Use a broker; without one the daemon works alone."""
        self.link = link
        self.subscriptions.attach(link)
        self._outlet.attach(link)
        for speaker in self._speakers:
            speaker.attach(self, link)

    def start(self) -> None:
        """Resume what the last run left, connect, and ask for the topics of all populations."""
        if self.parts.checkpoints is not None:
            self.parts.checkpoints.resume(self.groups)
        if self.parts.recorder is not None:
            self.parts.recorder.begin(self.groups)
        for group in self.groups.values():
            self.subscriptions.begin(group)
        if self.link is not None:
            if self.parts.following is not None:
                self.parts.following.start()
            if self.parts.peering is not None:
                self.parts.peering.start()
            self.link.start()

    def turn(self, woken_at: float | None = None) -> float:
        """Do what is to be done now; return the monotonic time of the next deadline.

        ``woken_at`` is when the first message of this turn came in, if it is known: latencies count from it.
        """
        now = self.clock.monotonic()
        if self.link is not None:
            self.subscriptions.take(self.link.poll(), now if woken_at is None else min(woken_at, now))
            self.pacing.request()
            if self.link.came_online:
                self.link.came_online = False
                for group in self.groups.values():
                    group.forget_sent()
        for task in self._scheduler.due(self.clock.monotonic()):
            self._run(task)
            self.completed += 1
        if self.link is None:
            return self._scheduler.deadline
        for speaker in self._speakers:
            speaker.turn()
        deadlines = [self._scheduler.deadline, *(speaker.deadline for speaker in self._speakers)]
        session = self.link.session.deadline
        return min(deadlines) if session is None else min(session, *deadlines)

    def stop(self) -> None:
        """Hold every agent safe, write a last checkpoint and say goodbye to the broker."""
        for group in self.groups.values():
            group.suspended = True
            self.stepping.hold(group)
        self._checkpoint()
        if self.parts.recorder is not None:
            self.parts.recorder.close()
        if self.link is not None:
            if self.parts.peering is not None:
                self.parts.peering.stop()
            self.link.stop()

    def birth(self, online: bool) -> Publication:
        """Return the birth message, or the will."""
        device = self.config.device
        running = {name: (group.digest, len(group.names)) for name, group in self.groups.items()}
        peering = self.parts.peering
        life = None if peering is None else peering.peer.incarnation if online else peering.will()
        body = bodies.birth(online, device.name, __version__, self.parts.boot, device.profile, running, life)
        message = Message(body, t=self.clock.time())
        return Publication(self.topics.birth, encode(message), qos=1, retain=True)

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Answer a question that came over the control socket; see ``runtime.reporting.status``."""
        return status.answer(self, request)

    def status(self) -> dict[str, Any]:
        """Return the state of everything, in plain types."""
        return status.status(self)

    def summary(self) -> str:
        """Return one line for the service manager; see ``runtime.reporting.status``."""
        return status.summary(self)

    @property
    def groups(self) -> Mapping[str, Group]:
        """The populations at work, by name."""
        return self.roster.groups

    @property
    def uptime(self) -> float:
        """Seconds since the daemon was made."""
        return self.clock.monotonic() - self._started

    def change(self, items: Sequence[Prepared], gone: Sequence[str]) -> None:
        """Add, replace and remove populations while running; see `Populations.change`."""
        leaving = {name: self.groups[name] for name in gone if name in self.groups}
        made = self.roster.change(items, gone)
        arriving = {group.config.name for group in made}
        for name, group in leaving.items():
            self.pacing.end(name)
            if name not in arriving:
                group.suspended = True
                self.stepping.hold(group)
        for group in made:
            self._begin(group.config.name, group)
        self.subscriptions.end(leaving.values())
        if self.parts.following is not None:
            self.parts.following.changed()
        if self.parts.peering is not None:
            self.parts.peering.changed()
        if self.link is not None and self.link.online:
            self.link.publish(self.birth(True))

    def adopt(self, name: str, bundle: str) -> None:
        """Take note that a population runs another bundle file for good, and let the fleet know."""
        group = self.groups.get(name)
        if group is not None:
            group.config = replace(group.config, bundle=bundle)
        population = tuple(
            replace(entry, bundle=bundle) if entry.name == name else entry for entry in self.config.population
        )
        self.config = replace(self.config, population=population)
        if self.link is not None:
            self.link.publish(self.birth(True))

    def exchange(self, name: str) -> None:
        """Let a population's shadow act; see `Populations.exchange`."""
        self.roster.exchange(name)
        if self.parts.peering is not None:
            self.parts.peering.changed()
        if self.parts.recorder is not None:
            self.parts.recorder.begin_one(name, self.groups[name])

    def _begin(self, name: str, group: Group) -> None:
        self.pacing.begin(name, self.clock.monotonic())
        if self.parts.recorder is not None:
            self.parts.recorder.begin_one(name, group)
        self.subscriptions.begin(group)
        if self._governing is not None:
            self._governing.admit(name)

    def _run(self, task: Task) -> None:
        kind, _, name = task.name.partition(" ")
        if kind == STEP:
            if self._governing is not None:
                self._governing.note(task)
            self.stepping.step(name, task.jitter)
        elif kind == POLL:
            self.groups[name].intake.poll(self.clock.monotonic())
            self.pacing.request()
        elif kind == WATCH:
            self.stepping.hold(self.groups[name])
        elif kind == TIDY and self.parts.tidy is not None:
            self.parts.tidy()
        elif kind == GOVERN and self._governing is not None:
            self._governing.look()
        elif kind == CHECKPOINT:
            self._checkpoint()

    def _checkpoint(self) -> None:
        if self.parts.checkpoints is not None:
            pause = self.parts.checkpoints.write(self.groups)
            self._scheduler.set_period(CHECKPOINT, pause, self.clock.monotonic())
