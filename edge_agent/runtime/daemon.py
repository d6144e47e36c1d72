"""The daemon: one loop that receives messages, steps populations when they are due, and publishes actions.

Theory of operation. `Daemon.run_once` is the whole loop body; it never waits. New messages go to their
populations; due tasks of the scheduler run; the result is the time of the next deadline, until which the
caller may wait for the wake-up descriptor. All parts are passed in, so that a test can run a week with a
manual clock; `commands.compose_daemon` builds them.

The path of an observation: `MqttDispatch.poll` (newest payload of each topic) → `Subscriptions` (whose it is)
→ `Inputs` (JSON pointer, bins) → `Observations` (int16 column) → `StepSchedule` (now for arrivals, else at
the tick) → `PopulationTick` → `Group.step` (kernel) → `ActionPublisher` and `Actuator` (changes only) →
`MqttDispatch.publish`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol

from edge_agent.protocol.ports import Clock
from edge_agent.runtime.governor.governor_driver import LOOK_S, GovernorDriver
from edge_agent.runtime.mqtt_dispatch import MqttDispatch
from edge_agent.runtime.population.checkpoint import Checkpoints
from edge_agent.runtime.population.subscriptions import Subscriptions
from edge_agent.runtime.population.suspension import SuspendReason
from edge_agent.runtime.populations import Populations
from edge_agent.runtime.recording.recorder import Recorder, RecordingFile
from edge_agent.runtime.scheduler import Scheduler, Task
from edge_agent.runtime.step_schedule import DECIDE, POLL, STEP, WATCH, StepSchedule
from edge_agent.runtime.tick import PopulationTick

TIDY_S = 30.0
CHECKPOINT, TIDY, GOVERN = "checkpoint", "tidy", "govern"


class Speaker(Protocol):
    """Who speaks for the device beside its observations and actions: with the hub, peers, Home Assistant."""

    def start(self) -> None:
        """Begin, before the broker is connected."""

    @property
    def deadline(self) -> float:
        """When `run_once` has something to do, monotonic seconds."""

    def run_once(self) -> None:
        """Do what is due."""

    def stop(self) -> None:
        """End, before the broker is told goodbye."""


class Daemon:
    """The loop.

    Parameters
    ----------
    populations, scheduler, schedule, tick : Populations, Scheduler, StepSchedule, PopulationTick
        What runs, and when.
    recorder : Recorder
        The flight recorder.
    clock : Clock
        Time.
    dispatch, subscriptions : MqttDispatch, Subscriptions, optional
        The broker's side; without them the daemon works alone.
    speakers : sequence of Speaker
        In the order of their turns.
    governor : GovernorDriver, optional
        Reduces the load when the board is overloaded.
    checkpoints : Checkpoints, optional
        Where beliefs are kept over a restart.
    recording_file : RecordingFile, optional
        Where a recording begins at the start.
    tidy : callable, optional
        Gives memory back that is no longer in use.
    """

    def __init__(
        self,
        populations: Populations,
        scheduler: Scheduler,
        schedule: StepSchedule,
        tick: PopulationTick,
        recorder: Recorder,
        clock: Clock,
        *,
        dispatch: MqttDispatch | None = None,
        subscriptions: Subscriptions | None = None,
        speakers: Sequence[Speaker] = (),
        governor: GovernorDriver | None = None,
        checkpoints: Checkpoints | None = None,
        recording_file: RecordingFile | None = None,
        tidy: Callable[[], None] | None = None,
    ) -> None:
        self.completed = 0
        """Tasks completed since the start."""
        self._populations = populations
        self._scheduler = scheduler
        self._schedule = schedule
        self._tick = tick
        self._recorder = recorder
        self._clock = clock
        self._dispatch = dispatch
        self._subscriptions = subscriptions
        self._speakers = speakers
        self._governor = governor
        self._checkpoints = checkpoints
        self._recording_file = recording_file
        self._tidy = tidy
        now = clock.monotonic()
        if checkpoints is not None:
            scheduler.every(CHECKPOINT, populations.config.device.checkpoint_s, now)
        if tidy is not None:
            scheduler.every(TIDY, TIDY_S, now)
        if governor is not None:
            scheduler.every(GOVERN, LOOK_S, now)

    def start(self) -> None:
        """Resume what the last run left, and connect."""
        if self._checkpoints is not None:
            self._checkpoints.resume(self._populations.groups, self._clock)
            for name in self._checkpoints.resumed:
                self._schedule.resume(name)
        if self._recording_file is not None:
            self._recorder.start(self._recording_file, self._populations.groups)
        for speaker in self._speakers:
            speaker.start()
        if self._dispatch is not None:
            self._dispatch.start()

    def run_once(self, woken_at: float | None = None) -> float:
        """Do what is to be done now; return the monotonic time of the next deadline.

        ``woken_at`` is when the first message of this turn came in, if it is known: latencies count from it.
        """
        if self._dispatch is not None and self._subscriptions is not None:
            self._deliver_messages(self._dispatch, self._subscriptions, woken_at)
        self._run_due(self._clock.monotonic())
        if self._dispatch is not None:
            self._dispatch.flush()
        for speaker in self._speakers:
            speaker.run_once()
        deadline = min([self._scheduler.deadline, *[speaker.deadline for speaker in self._speakers]])
        session = None if self._dispatch is None else self._dispatch.session.deadline
        return deadline if session is None else min(session, deadline)

    def stop(self) -> None:
        """Hold every agent safe, write a last checkpoint and say goodbye to the broker."""
        for name in list(self._populations.groups):
            self._populations.suspend(name, SuspendReason.STOP)
        self._checkpoint()
        self._recorder.close()
        for speaker in self._speakers:
            speaker.stop()
        if self._dispatch is not None:
            self._dispatch.stop()

    def _deliver_messages(
        self, dispatch: MqttDispatch, subscriptions: Subscriptions, woken_at: float | None
    ) -> None:
        now = self._clock.monotonic()
        arrived = now if woken_at is None else min(woken_at, now)
        messages = dispatch.poll()
        if messages:  # what arrived after the end of a tick belongs to the next one
            self._run_due(math.nextafter(arrived, -math.inf))
        subscriptions.deliver(messages, arrived, self._clock.time() - (now - arrived))
        self._schedule.request()
        if dispatch.came_online:
            dispatch.came_online = False
            for group in self._populations.groups.values():
                group.forget_sent()

    def _run_due(self, now: float) -> None:
        for task in self._scheduler.due(now):
            self._run(task)
            self.completed += 1

    def _run(self, task: Task) -> None:
        kind, _, name = task.name.partition(" ")
        if kind in (STEP, DECIDE):
            start = self._clock.monotonic()
            if kind == DECIDE:
                self._tick.decide(name)
            else:
                if self._governor is not None:
                    self._governor.note(task)
                boundary = math.inf if task.on_request else task.deadline - task.period
                self._tick.step(name, task.jitter, boundary)
            if task.on_request:
                self._schedule.rest(kind, name, self._clock.monotonic() - start)
        elif kind == POLL:
            self._populations.groups[name].inputs.poll(self._clock.monotonic())
            self._schedule.request()
        elif kind == WATCH:
            self._tick.hold(name, self._populations.groups[name])
        elif kind == TIDY and self._tidy is not None:
            self._tidy()
        elif kind == GOVERN and self._governor is not None:
            self._governor.look()
        elif kind == CHECKPOINT:
            self._checkpoint()

    def _checkpoint(self) -> None:
        if self._checkpoints is not None:
            pause = self._checkpoints.write(self._populations.groups, self._clock)
            self._scheduler.set_period(CHECKPOINT, pause, self._clock.monotonic())
