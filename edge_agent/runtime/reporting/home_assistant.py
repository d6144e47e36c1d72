"""Publishes the device to Home Assistant: discovery on every connect, and a state at the telemetry interval.

Theory of operation. The announcement is retained, so that a Home Assistant that starts later finds it; it is
published again when what it shows has changed, and when Home Assistant says that it is online. States are
neither retained nor kept for later: what Home Assistant wants to know is how it is now. It subscribes to the
state only some time after it received the announcement, so the first states follow each other after 1, 2, 4,
… seconds. The state of an orderly stop says ``online`` false, and Home Assistant shows the device as
unavailable at once. Populations with a section ``home_assistant`` are shown with entities of their agents
(`wire.agent_discovery`, `runtime.reporting.agent_states`), as many as the announcement has room for.

Components that are gone are known from the record on disk (`DiscoveryRecord`). Home Assistant removes a
component only if it has discovered it in this run of its own. So after a start of the daemon or of Home
Assistant, what is gone is announced once more, and `SETTLE_S` later as removed; Home Assistant drops a
removal that arrives while it still sets the component up. The record forgets what is gone when that was done
for a Home Assistant that had just said that it is online.
"""

from __future__ import annotations

import logging
import math
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from edge_agent.protocol.ports import Clock, Publication, Received
from edge_agent.runtime.mqtt_dispatch import MqttDispatch
from edge_agent.runtime.population.checkpoint import StateStore
from edge_agent.runtime.populations import Populations
from edge_agent.runtime.reporting.discovery_record import DiscoveryRecord
from edge_agent.runtime.reporting.population_counters import population_counters
from edge_agent.runtime.step_schedule import StepSchedule
from edge_agent.version import __version__
from edge_agent.wire import discovery
from edge_agent.wire.topics import DeviceTopics

if TYPE_CHECKING:  # loaded only if agents are shown
    from edge_agent.runtime.reporting.agent_entities import Shown
    from edge_agent.runtime.reporting.agent_states import AgentStates

log = logging.getLogger("edge_agent")

FIRST_S = 1.0
"""Seconds between the first two states after an announcement."""
SETTLE_S = 10.0
"""Seconds that Home Assistant gets to set components up before they are removed."""
ONLINE = b"online"


class HomeAssistantPublisher:
    """Announcement and states.

    Parameters
    ----------
    prefix : str
        Home Assistant's discovery prefix; empty takes an earlier announcement back and does nothing else.
    seconds : float
        Between states.
    topics : DeviceTopics
        The device's.
    store : StateStore, optional
        Where it is noted what was announced.
    populations, schedule : Populations, StepSchedule
        What is shown.
    dispatch : MqttDispatch
        Publishes.
    clock : Clock
        Monotonic time.
    figures : callable
        Returns the figures of the device itself, as in `wire.discovery`: ``rss``, ``rung`` and ``backlog``.
    make_agents : callable
        Returns the publisher of agents' states; called when agents are shown for the first time.
    """

    def __init__(
        self,
        prefix: str,
        seconds: float,
        *,
        topics: DeviceTopics,
        store: StateStore | None,
        populations: Populations,
        schedule: StepSchedule,
        dispatch: MqttDispatch,
        clock: Clock,
        figures: Callable[[], dict[str, Any]],
        make_agents: Callable[[], AgentStates],
    ) -> None:
        self._prefix = prefix
        self._seconds = seconds
        self._topic = discovery.topic(prefix, topics) if prefix else ""
        self._record = DiscoveryRecord(store, self._topic, topics)
        self._next = self._remove_at = math.inf
        self._pause = FIRST_S
        self._said = 0.0
        self._announced: int | None = None
        """Checksum of the components that were announced; None: anew."""
        self._unannounced = False
        self._shown: tuple[str, ...] = ()
        self._agents: AgentStates | None = None
        self._make_agents = make_agents
        self._removed: set[str] = set()
        self._restarted = False
        self._emptying: dict[int, str] = {}
        self._topics = topics
        self._populations = populations
        self._schedule = schedule
        self._dispatch = dispatch
        self._clock = clock
        self._figures = figures
        dispatch.add_callbacks(self._delivered, self._online)
        if prefix:
            dispatch.listen(discovery.status_topic(prefix), self._status)

    def start(self) -> None:
        """Take over the overrides of the last run, before the first step."""
        if self._prefix and self._shows_agents():
            self._agents = self._make_agents()
            self._agents.overrides.start()

    @property
    def deadline(self) -> float:
        """When `run_once` has something to do, monotonic seconds; never while nobody would hear it."""
        own = min(self._next, self._remove_at) if self._dispatch.online else math.inf
        return (
            own if self._agents is None else min(own, self._agents.deadline, self._agents.overrides.deadline)
        )

    def run_once(self) -> None:
        """Say what is due."""
        if self._agents is not None:
            self._agents.overrides.run_once()
        if not self._dispatch.online:
            return
        now = self._clock.monotonic()
        if now >= self._remove_at:
            self._remove(self._components()[0])
        if now >= self._next:
            self._announce(now)
            self._dispatch.publish(Publication(self._topics.state, discovery.encode(self._state()), qos=0))
            if self._agents is not None and self._pause < self._seconds:
                self._agents.repeat()
            self._said, self._next = now, now + min(self._pause, self._seconds)
            self._pause = min(2 * self._pause, self._seconds)
        if self._agents is not None:
            self._agents.run_once()

    def changed(self) -> None:
        """Take note that populations came or went, or run other models."""
        self._unannounced = True
        self._next = min(self._next, 0.0 if self._prefix else math.inf)
        if self._agents is not None:
            self._agents.overrides.look()

    def stop(self) -> None:
        """Say that the device goes offline, and write overrides down."""
        if self._agents is not None:
            self._agents.overrides.stop()
        if self._announced is not None:
            payload = discovery.encode(self._state() | {"online": False})
            self._dispatch.publish(Publication(self._topics.state, payload, qos=0))

    def _announce(self, now: float) -> None:
        """Announce what is shown if that was not done, or has changed."""
        if not self._unannounced:
            return
        self._unannounced = False
        components, agents = self._components()
        self._show(agents)
        before, self._announced = self._announced, zlib.crc32(discovery.encode(components))
        if self._announced == before:
            return
        self._record.note({id_: entry["platform"] for id_, entry in components.items()})
        returning = {id_: kind for id_, kind in self._record.gone.items() if id_ not in self._removed}
        if before is None and returning:
            self._remove_at = now + SETTLE_S
            anew = {id_: discovery.gone_component(self._topics, id_, kind) for id_, kind in returning.items()}
            self._publish(anew | components, {})
        else:
            self._remove(components)
        self._pause = FIRST_S

    def _components(self) -> tuple[discovery.Components, dict[str, Shown]]:
        """Return the components that are shown, and of which populations how many agents are."""
        groups, seconds = self._populations.groups, self._seconds
        names = ("", *groups)
        found, count = discovery.fitting(discovery.diagnostics(self._topics, name, seconds) for name in names)
        self._shown = names[1:count]
        if count < len(names):
            log.warning("home assistant: shows the first %d of %d populations", count - 1, len(groups))
        agents: dict[str, Shown] = {}
        if self._shows_agents():
            from edge_agent.runtime.reporting.agent_entities import PopulationView, announce_agents

            running = (
                PopulationView(
                    group.config, group.binding, getattr(group.model_port, "model", None), group.names
                )
                for group in groups.values()
            )
            more, agents = announce_agents(self._topics, running, len(discovery.encode(found)))
            found |= more
            for name, shown in agents.items():
                if shown.agents < shown.wanted:
                    line = "home assistant: population %s: shows the first %d of %d agents"
                    log.warning(line, name, shown.agents, shown.wanted)
        return found, agents

    def _shows_agents(self) -> bool:
        return any(group.config.home_assistant is not None for group in self._populations.groups.values())

    def _show(self, agents: dict[str, Shown]) -> None:
        if self._agents is None and agents:
            self._agents = self._make_agents()
        if self._agents is not None:
            self._agents.show(agents)

    def _remove(self, components: discovery.Components) -> None:
        """Announce ``components``, and that all others are gone."""
        self._remove_at = math.inf
        self._publish(components, dict(self._record.gone))
        self._removed.update(self._record.gone)
        if self._restarted:
            self._restarted = False
            self._record.forget()

    def _publish(self, components: discovery.Components, gone: dict[str, str]) -> None:
        profile = self._populations.config.device.profile
        message = discovery.announcement(self._topics, __version__, profile, components, gone)
        self._dispatch.publish(Publication(self._topic, discovery.encode(message), retain=True))

    def _online(self) -> None:
        """Begin anew on each connect."""
        self._announced, self._remove_at = None, math.inf
        self._unannounced = True
        self._next = 0.0 if self._prefix else math.inf
        self._emptying.clear()
        for topic in self._record.stale:
            empty = Publication(topic, b"", retain=True)
            token, effects = self._dispatch.session.publish(empty, self._clock.monotonic())
            self._emptying[token] = topic
            self._dispatch.perform(effects)

    def _delivered(self, token: int) -> None:
        topic = self._emptying.pop(token, None)
        if topic is not None:
            self._record.emptied(topic)

    def _status(self, message: Received) -> None:
        """Begin anew when Home Assistant has started; the retained message is older than this connection."""
        if message.payload != ONLINE or message.retain:
            return
        self._announced, self._remove_at = None, math.inf
        self._unannounced = self._restarted = True
        self._removed.clear()
        self._next = min(self._next, self._said + FIRST_S)

    def _state(self) -> dict[str, Any]:
        """Return the state of the device and of the populations shown, as the announcement's templates read
        it.
        """
        groups = self._populations.groups
        counters = population_counters(self._populations, self._schedule)
        return {
            "online": True,
            **self._figures(),
            "populations": {
                name: {"agents": len(groups[name].names), **values}
                for name, values in counters.items()
                if name in self._shown
            },
        }
