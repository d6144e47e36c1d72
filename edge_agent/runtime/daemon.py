"""The daemon: one loop that takes messages in, steps populations at their time, and sends actions out.

Theory of operation. `Daemon.turn` is the whole loop body; it never waits. What is new at the link goes into
the populations' columns; whoever is due by the scheduler runs; the result is the time of the next deadline,
until which the caller may wait for the wake-up descriptor. Time, link, sinks and process figures are handed
in, so that a test can run a week of turns with a manual clock.

The path of an observation: `Link.poll` (newest payload of each topic) → `Intake` (JSON pointer, bins,
int16 column) → `Scheduler` (now for arrivals, else at the tick) → `Group.step` (kernel) → `Actuator` (changes
only) → `Link.publish`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edge_agent import __version__
from edge_agent.memory.budget import Plan
from edge_agent.protocol.ports import Clock, Publication
from edge_agent.runtime import questions
from edge_agent.runtime.acting import SAFE, Sink
from edge_agent.runtime.assembly import Prepared
from edge_agent.runtime.checkpoint import Checkpoints
from edge_agent.runtime.config import ActConfig, Config
from edge_agent.runtime.governor import Governor, Signs
from edge_agent.runtime.group import Group
from edge_agent.runtime.link import Link
from edge_agent.runtime.recorder import Recorder
from edge_agent.runtime.roster import Roster
from edge_agent.runtime.scheduler import Scheduler, Task
from edge_agent.runtime.uplink import Uplink
from edge_agent.wire import bodies
from edge_agent.wire.messages import Message, encode
from edge_agent.wire.topics import DeviceTopics

if TYPE_CHECKING:  # loaded only on a device that has keys of a hub: half a megabyte
    from edge_agent.runtime.announcing import Announcing
    from edge_agent.runtime.following import Following
    from edge_agent.runtime.peering import Peering  # and this on one that has peers

log = logging.getLogger("edge_agent")

WATCH_S = 1.0
TIDY_S = 30.0


def _no_signs() -> Signs:
    return Signs()


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What touches the outside, handed in; None works without.

    ``rss`` returns the bytes of the process in memory now; ``sinks`` take the actions that do not go to
    MQTT (``file``, ``command``, ``plugin``); ``signs`` tells the governor how the board is; ``boot`` is
    unique to this start of the process; ``tidy`` gives memory back that is no longer in use.
    """

    rss: Callable[[], int]
    boot: str = ""
    sinks: Mapping[str, Sink] = field(default_factory=dict)
    checkpoints: Checkpoints | None = None
    recorder: Recorder | None = None
    uplink: Uplink | None = None
    following: Following | None = None
    announcing: Announcing | None = None
    peering: Peering | None = None
    governor: Governor | None = None
    signs: Callable[[], Signs] = _no_signs
    tidy: Callable[[], None] | None = None


class Daemon:
    """Populations, link and scheduler.

    Parameters
    ----------
    config : Config
        The device's configuration.
    roster : Roster
        The populations at work.
    plan : Plan
        The memory plan, for status.
    clock : Clock
        Time.
    parts : Parts
        What touches the outside.
    """

    def __init__(
        self,
        config: Config,
        roster: Roster,
        plan: Plan,
        clock: Clock,
        parts: Parts,
    ) -> None:
        self.config = config
        self.roster = roster
        self.plan = plan
        self.topics = DeviceTopics(config.device.fleet, config.device.name)
        self.scheduler = Scheduler()
        self._clock = clock
        self.link: Link | None = None
        self.parts = parts
        self._sinks = {"mqtt": self._to_mqtt, **parts.sinks}
        self._started = clock.monotonic()
        self.busy_s = 0.0
        self.stepped = 0
        self.completed = 0
        self._sequence = 0
        self._bulk_prefix = self.topics.bulk_in("")
        self.unknown_topics = 0
        now = clock.monotonic()
        for name, group in self.groups.items():
            self._schedule(name, group, now)
        if parts.checkpoints is not None:
            self.scheduler.every("checkpoint", config.device.checkpoint_s, now)
        if parts.tidy is not None:
            self.scheduler.every("tidy", TIDY_S, now)
        if parts.governor is not None:
            self.scheduler.every("govern", WATCH_S, now)
        self._missed = 0
        self._late: list[float] = [0.0, 0.0]

    def attach(self, link: Link) -> None:
        """Use a broker; without one the daemon works alone."""
        self.link = link
        if self.parts.uplink is not None:
            self.parts.uplink.attach(link, self.topics.confirm)
        if self.parts.following is not None:
            self.parts.following.attach(self, link)
        if self.parts.announcing is not None:
            self.parts.announcing.attach(link)
        if self.parts.peering is not None:
            self.parts.peering.attach(self, link)

    def start(self) -> None:
        """Resume what the last run left, connect, and ask for the topics of all populations."""
        if self.parts.checkpoints is not None:
            self.parts.checkpoints.resume(self.groups)
        if self.parts.recorder is not None:
            self.parts.recorder.begin(self.groups)
        for name, group in self.groups.items():
            self._subscribe(name, group)
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
        now = self._clock.monotonic()
        if self.link is not None:
            self._take_in(self.link.poll(), now if woken_at is None else min(woken_at, now))
            if self.link.came_online:
                self.link.came_online = False
                for group in self.groups.values():
                    group.forget_sent()
        for task in self.scheduler.due(self._clock.monotonic()):
            self._run(task)
            self.completed += 1
        self._tell_others()
        deadlines: list[float | None] = [self.scheduler.deadline]
        if self.link is not None:
            parts = (self.parts.uplink, self.parts.following, self.parts.announcing, self.parts.peering)
            deadlines += [self.link.session.deadline, *(part.deadline for part in parts if part is not None)]
        return min(deadline for deadline in deadlines if deadline is not None)

    def stop(self) -> None:
        """Hold every agent safe, write a last checkpoint and say goodbye to the broker."""
        for group in self.groups.values():
            group.suspended = True
            self._hold(group)
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
        message = Message(body, t=self._clock.time())
        return Publication(self.topics.birth, encode(message), qos=1, retain=True)

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Answer a question that came over the control socket; see ``runtime.questions``."""
        return questions.answer(self, request)

    def status(self) -> dict[str, Any]:
        """Return the state of everything, in plain types."""
        return questions.status(self)

    def summary(self) -> str:
        """Return one line for the service manager: rung of the governor, agents a population, broker."""
        governor = self.parts.governor
        rung = "full" if governor is None else governor.name
        sizes = ", ".join(f"{name} {len(group.names)}" for name, group in self.groups.items())
        broker = "none" if self.link is None else self.link.session.state.value
        return f"{rung}; {sizes}; broker {broker}"

    @property
    def groups(self) -> Mapping[str, Group]:
        """The populations at work, by name."""
        return self.roster.groups

    def change(self, items: Sequence[Prepared], gone: Sequence[str]) -> None:
        """Add, replace and remove populations while running; see `Roster.change`."""
        leaving = {name: self.groups[name] for name in gone if name in self.groups}
        made = self.roster.change(items, gone)
        arriving = {group.config.name for group in made}
        for name, group in leaving.items():
            self._unschedule(name)
            if name not in arriving:
                group.suspended = True
                self._hold(group)
        for group in made:
            self._begin(group.config.name, group)
        if self.link is not None:
            self.link.unsubscribe([topic for name in leaving for topic in self._filters(name, leaving[name])])
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

    def pace(self, name: str) -> None:
        """Let a population step at its configured rate from now on, slower if the governor says so."""
        governor = self.parts.governor
        slowed = 1.0 if governor is None else governor.slowed
        period = slowed / self.groups[name].config.rate_hz
        self.scheduler.set_period(f"step {name}", period, self._clock.monotonic())

    def exchange(self, name: str) -> None:
        """Let a population's shadow act; see `Roster.exchange`."""
        self.roster.exchange(name)
        if self.parts.peering is not None:
            self.parts.peering.changed()
        if self.parts.recorder is not None:
            self.parts.recorder.begin_one(name, self.groups[name])

    def _begin(self, name: str, group: Group) -> None:
        self._schedule(name, group, self._clock.monotonic())
        if self.parts.recorder is not None:
            self.parts.recorder.begin_one(name, group)
        self._subscribe(name, group)
        governor = self.parts.governor
        if governor is not None and governor.rung:
            self._give_way(name, group, governor, self._clock.monotonic())

    def _subscribe(self, name: str, group: Group) -> None:
        if self.link is not None:
            self.link.subscribe(self._filters(name, group))

    def _filters(self, name: str, group: Group) -> list[str]:
        """Return the topics that bring a population its observations."""
        bulk = [self.topics.bulk_in(name)] if group.config.bulk else []
        return group.intake.filters() + bulk

    @property
    def uptime(self) -> float:
        """Seconds since the daemon was made."""
        return self._clock.monotonic() - self._started

    def _schedule(self, name: str, group: Group, now: float) -> None:
        period = 1.0 / group.config.rate_hz
        if group.config.step == "rate":
            self.scheduler.every(f"step {name}", period, now)
        else:
            self.scheduler.on_request(f"step {name}", period, now)
        self.scheduler.every(f"watch {name}", WATCH_S, now)
        if group.intake.feeds and group.config.step != "rate":
            self.scheduler.every(f"poll {name}", period, now)

    def _unschedule(self, name: str) -> None:
        self.scheduler.remove(f"step {name}")
        self.scheduler.remove(f"watch {name}")
        if f"poll {name}" in self.scheduler:
            self.scheduler.remove(f"poll {name}")

    def _take_in(self, messages: Mapping[str, bytes], arrived: float) -> None:
        for topic, payload in messages.items():
            group = self.groups.get(topic.removeprefix(self._bulk_prefix))
            if group is not None and group.config.bulk:
                group.intake.bulk(payload, arrived)
                continue
            known = False
            for candidate in self.groups.values():
                known |= candidate.intake.message(topic, payload, arrived)
            self.unknown_topics += not known
        self._request_steps()

    def _request_steps(self) -> None:
        now = self._clock.monotonic()
        for name, group in self.groups.items():
            if group.wants_step:
                self.scheduler.request(f"step {name}", now)

    def _run(self, task: Task) -> None:
        kind, _, name = task.name.partition(" ")
        if kind == "step":
            self._step(name, self.groups[name], task.jitter)
        elif kind == "poll":
            self.groups[name].intake.poll(self._clock.monotonic())
            self._request_steps()
        elif kind == "watch":
            self._hold(self.groups[name])
        elif kind == "tidy" and self.parts.tidy is not None:
            self.parts.tidy()
        elif kind == "govern":
            self._govern()
        elif kind == "checkpoint":
            self._checkpoint()

    def _checkpoint(self) -> None:
        if self.parts.checkpoints is not None:
            pause = self.parts.checkpoints.write(self.groups)
            self.scheduler.set_period("checkpoint", pause, self._clock.monotonic())

    def _govern(self) -> None:
        governor, signs = self.parts.governor, self.parts.signs
        if governor is None:
            return
        missed = sum(self.scheduler[f"step {name}"].missed for name in self.groups)
        seen = replace(
            signs(),
            missed=(missed - self._missed) / WATCH_S,
            late=self._late[0] / max(self._late[1], 1.0),
            memory=self.parts.rss() / self.plan.budget,
        )
        self._missed, self._late = missed, [0.0, 0.0]
        now = self._clock.monotonic()
        move = governor.look(seen, now)
        if move is None:
            return
        fields = {"rung": move.rung, "cause": move.cause}
        log.warning("governor: %s, because of %s", move.name, move.cause, extra={"fields": fields})
        for name, group in self.groups.items():
            self._give_way(name, group, governor, now)

    def _give_way(self, name: str, group: Group, governor: Governor, now: float) -> None:
        """Let a population do what the governor's rung says."""
        self.scheduler.set_period(f"step {name}", governor.slowed / group.config.rate_hz, now)
        horizon = 1 if governor.plans_shorter else None
        group.plan(horizon)
        if self.parts.recorder is not None:
            self.parts.recorder.plan(name, horizon)
        group.suspended = group.elsewhere or governor.suspended(group.config.priority)
        self._hold(group)

    def _step(self, name: str, group: Group, jitter: float) -> None:
        group.jitter.add(np.array([jitter]))
        self._late[0] += jitter / self.scheduler[f"step {name}"].period
        self._late[1] += 1.0
        if group.intake.feeds and group.config.step == "rate":
            group.intake.poll(self._clock.monotonic())
        peering = self.parts.peering
        start = self._clock.monotonic()
        if peering is not None:
            peering.before(name, group)
        step = group.step(start, int(self._clock.time() * 1000))
        self.busy_s += self._clock.monotonic() - start
        if step is None:
            return
        if peering is not None:
            peering.fusing.after(name, group, step)
        self.stepped += len(step.agents)
        if self.parts.recorder is not None:
            self.parts.recorder.step(name, group.counters.ticks, step, self.groups)
        if group.config.bulk:
            self._send_bulk(name, group, step.agents, step.actions)
        self._publish(group, step.agents, step.actions)

    def _hold(self, group: Group) -> None:
        hold, name = group.hold_silent(self._clock.monotonic()), group.config.name
        if hold.executed is not None:
            if self.parts.recorder is not None:
                self.parts.recorder.act(name, hold.executed)
            if group.config.bulk:
                self._send_bulk(name, group, hold.executed.agents, np.full_like(hold.executed.actions, SAFE))
        if hold.agents.size:
            self._publish(group, hold.agents, hold.actions)

    def _publish(self, group: Group, agents: NDArray[np.intp], actions: NDArray[np.int16]) -> None:
        group.publish(agents, actions, self._send, self._clock.monotonic)

    def _send(self, act: ActConfig, agent: str, index: int, payload: str) -> bool:
        return self._sinks[act.sink](act, agent, index, payload)

    def _to_mqtt(self, act: ActConfig, agent: str, index: int, payload: str) -> bool:
        if self.link is None:
            return False
        topic = act.topic.format(agent=agent, index=index)
        return self.link.publish(Publication(topic, payload.encode(), qos=act.qos, retain=act.retain))

    def _send_bulk(
        self, name: str, group: Group, agents: NDArray[np.intp], actions: NDArray[np.int16]
    ) -> None:
        """Send actions (n, F) little-endian; -2 is "hold safe"; ``agents`` (int32) where not all stepped.

        ``of`` is the sequence number of the observations they answer, ``horizon`` (steps) is there while the
        board plans shorter than the model would.
        """
        if self.link is None:
            return
        body: dict[str, Any] = {
            "tick": group.counters.ticks,
            "of": group.intake.bulk_seq,
            "act": actions.astype("<i2").tobytes(),
            "shape": list(actions.shape),
            "dtype": "int16",
        }
        if len(agents) != len(group.names):
            body["agents"] = agents.astype("<i4").tobytes()
        if group.horizon is not None:
            body["horizon"] = group.horizon
        message = Message(body, seq=self._next(), t=self._clock.time())
        self.link.publish(Publication(self.topics.bulk_out(name), encode(message), qos=0))

    def _tell_others(self) -> None:
        if self.link is not None and self.parts.peering is not None:
            self.parts.peering.turn()
        if self.link is not None and self.parts.following is not None:
            self.parts.following.turn()
        if self.link is not None and self.parts.uplink is not None:
            self.parts.uplink.turn(self, self.link, self._clock.monotonic(), self._clock.time())
        if self.parts.announcing is not None:
            self.parts.announcing.turn(self, self._clock.monotonic())

    def _next(self) -> int:
        self._sequence += 1
        return self._sequence
