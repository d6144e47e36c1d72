"""Overrides: a user's value replaces an agent's decision for a time, on one control.

Theory of operation. An override begins with a message on ``in/POPULATION/override`` and ends with its time,
with the value ``auto``, or when its agent, control or value is gone. The value is sent at once, and
at the end the agent's own latest decision; neither waits for the agent's dwell. The model and the flight
recorder are told the action that was executed (`Group.release`, `Group.delay`), so that beliefs are predicted
from what was done. An override prevails over the safe value of an agent whose observations are stale. The
safe values of a suspended population and of the end of the daemon prevail over overrides, which go on
afterwards; while a population is lent, its borrower decides. A population that begins or goes on has its
overrides before its first step. Without a connection an override on MQTT ends after the next connect: before,
nothing can be sent.

Overrides survive a restart: they are kept in a file with the Unix time of their end, written at most once in
`SAVE_S` seconds. A clock that was set back while the daemon was off makes one last ``override_s`` at most.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from edge_agent.config.records import HomeAssistantConfig
from edge_agent.errors import ConfigError, PeerError, PlatformError
from edge_agent.protocol.ports import Clock, Received
from edge_agent.runtime.population.action_publisher import ActionPublisher
from edge_agent.runtime.population.actuators import Actuator
from edge_agent.runtime.population.checkpoint import StateStore
from edge_agent.runtime.population.group import Group
from edge_agent.runtime.population.suspension import SuspendReason
from edge_agent.runtime.populations import Populations
from edge_agent.runtime.recording.recorder import Recorder
from edge_agent.wire import home_assistant_bodies
from edge_agent.wire.agent_discovery import auto_option
from edge_agent.wire.body_checks import check, check_plain

NAME = "overrides.json"
LOOK_S = 1.0
"""Seconds until an override whose action could not be sent is tried again."""
SAVE_S = 5.0
MAX_BYTES = 4096
"""Of a message."""

log = logging.getLogger("edge_agent")


class Key(NamedTuple):
    """What is overridden; all are names."""

    population: str
    agent: str
    control: str


class Override(NamedTuple):
    """``value`` as written in payloads, and the end of the override in monotonic seconds."""

    value: str
    ends: float


class _Target(NamedTuple):
    group: Group
    config: HomeAssistantConfig
    agent: int
    actuators: list[Actuator]
    """Of all entries of the control, at least one."""
    values: list[str]


class Overrides:
    """All overrides of the device.

    Parameters
    ----------
    populations : Populations
        What runs.
    publisher : ActionPublisher
        Sends the actions.
    recorder : Recorder
        Records them.
    clock : Clock
        Time.
    online : callable
        Whether messages reach the broker now.
    store : StateStore, optional
        Where they are kept over a restart.
    """

    def __init__(
        self,
        populations: Populations,
        publisher: ActionPublisher,
        recorder: Recorder,
        clock: Clock,
        online: Callable[[], bool],
        store: StateStore | None = None,
    ) -> None:
        self.refused = 0
        """Messages that were refused, since the start."""
        self.changed: list[Callable[[], None]] = []
        """Called when overrides began or ended."""
        self._populations = populations
        self._publisher = publisher
        self._recorder = recorder
        self._clock = clock
        self._online = online
        self._store = store
        self._active: dict[Key, Override] = {}
        self._look_at = 0.0
        self._unsaved = False
        self._saved_at = -math.inf
        self._load()

    def start(self) -> None:
        """Put what the last run left in force, before the first step."""
        self._apply()

    def begin(self, name: str, _group: Group) -> None:
        """Put a population's overrides in force before its next step: it is new, or goes on."""
        self._apply(name)

    def lift(self, _name: str, group: Group) -> None:
        """Let a population that is suspended take its safe values; its overrides go on afterwards."""
        for actuator in group.actuators:
            actuator.lift_overrides()

    @property
    def deadline(self) -> float:
        """When `run_once` has something to do, monotonic seconds."""
        due = [min(override.ends, self._look_at) for _, override in self._reached()]
        return min([*due, self._saved_at + SAVE_S if self._unsaved else math.inf])

    def run_once(self) -> None:
        """End what is over, send what was not sent, and write the file."""
        now = self._clock.monotonic()
        for key, override in self._reached():
            if now >= override.ends:
                self._end(key, "its time is over")
        if now >= self._look_at:
            self._look_at = now + LOOK_S
            self._apply()
        if self._unsaved and now >= self._saved_at + SAVE_S:
            self._save(now)

    def stop(self) -> None:
        """Write the file."""
        if self._unsaved:
            self._save(self._clock.monotonic())

    def look(self) -> None:
        """Look soon whether all overrides are in force: populations or the connection have changed."""
        self._look_at = 0.0

    def active(self, population: str, agent: str, control: str) -> tuple[str, float] | None:
        """Return value and end (Unix seconds) of an override, None if there is none or a peer decides."""
        override = self._active.get(Key(population, agent, control))
        if override is None or SuspendReason.LOAN in self._populations.reasons(population):
            return None
        return override.value, self._unix(override.ends)

    def status(self) -> dict[str, Any]:
        """Return all overrides in plain types."""
        return {"refused": self.refused, "active": self._rows()}

    def message(self, message: Received) -> None:
        """Carry out a message; one that cannot be carried out is logged and changes nothing."""
        population = message.topic.split("/")[-2]
        try:
            if message.retain:
                raise ConfigError("found a retained message, expected one that is not retained")
            self._request(population, message.payload)
        except (ConfigError, PeerError) as error:
            self.refused += 1
            log.warning("%s: %s", message.topic, error)
            for changed in self.changed:
                changed()

    def _request(self, population: str, payload: bytes) -> None:
        """Carry out a payload; raises ConfigError or PeerError."""
        body = _body(payload)
        key = Key(population, body["agent"], body["control"])
        target = self._target(key)
        value, auto, longest = body["value"], auto_option(target.values), target.config.override_s
        if value not in (auto, *target.values):
            expected = ", ".join((auto, *target.values))
            raise ConfigError(f"value: found {value!r}, expected one of {expected}")
        seconds = body.get("seconds", longest)
        if not 0.0 < seconds <= longest:
            raise ConfigError(f"seconds: found {seconds:g}, expected more than 0, at most {longest:g}")
        if target.group.suspended and value != auto:
            reasons = ", ".join(sorted(reason.value for reason in target.group.reasons))
            raise ConfigError(f"found population {population} suspended ({reasons}), expected it to run")
        if value == auto:
            self._end(key, "by request")
        else:
            self._begin(key, Override(value, self._clock.monotonic() + seconds))

    def _target(self, key: Key) -> _Target:
        """Return what a key names; raises ConfigError."""
        group = self._populations.groups.get(key.population)
        config = None if group is None else group.config.home_assistant
        if group is None or config is None or not config.override_s:
            raise ConfigError(
                f"found population {key.population!r}, expected one with home_assistant.override_s above 0"
            )
        shown = range(min(config.agents, len(group.names)))
        index = next((number for number in shown if group.names[number] == key.agent), None)
        if index is None:
            raise ConfigError(f"agent: found {key.agent!r}, expected one that is shown in Home Assistant")
        actuators = [actuator for actuator in group.actuators if actuator.control.name == key.control]
        if not actuators:
            names = ", ".join(dict.fromkeys(actuator.control.name for actuator in group.actuators)) or "none"
            raise ConfigError(f"control: found {key.control!r}, expected one of {names}")
        return _Target(group, config, index, actuators, actuators[0].control.texts())

    def _target_of(self, key: Key, override: Override) -> _Target | None:
        """Return what an override stands for, None if that is gone."""
        try:
            target = self._target(key)
        except ConfigError:
            return None
        return target if override.value in target.values else None

    def _begin(self, key: Key, override: Override) -> None:
        until = self._unix(override.ends)
        seconds = override.ends - self._clock.monotonic()
        log.info("override: %s: %s: %s = %s for %.0f s", *key, override.value, seconds)
        self._active[key] = override
        self._recorder.override(*key, override.value, until)
        self._note()
        self._apply()

    def _end(self, key: Key, reason: str) -> None:
        if self._active.pop(key, None) is None:
            return
        log.info("override: %s: %s: %s ended, %s", *key, reason)
        self._recorder.override(*key, "", 0.0)
        try:
            target = self._target(key)
        except ConfigError:
            pass  # nothing is left that could decide again
        else:
            for actuator in target.actuators:
                actuator.end_override(target.agent)
            self._release(key.population, target.group)
        self._note()

    def _reached(self) -> list[tuple[Key, Override]]:
        """Return the overrides whose beginning or end can be sent now."""
        online = self._online()
        return [(key, override) for key, override in self._active.items() if online or not self._on_mqtt(key)]

    def _on_mqtt(self, key: Key) -> bool:
        try:
            return any(actuator.config.sink == "mqtt" for actuator in self._target(key).actuators)
        except ConfigError:
            return False  # it is gone, and nothing is to be sent

    def _apply(self, population: str = "") -> None:
        """Put all overrides in force, or those of one population, and send those that were not sent."""
        unsent: dict[str, Group] = {}
        for key, override in list(self._active.items()):
            if population not in ("", key.population):
                continue
            target = self._target_of(key, override)
            if target is None:
                self._end(key, "the configuration has no such agent, control or value any more")
                continue
            action = target.values.index(override.value)
            if target.group.suspended:
                continue
            for actuator in target.actuators:
                if not actuator.overrides(target.agent, action):
                    actuator.override(target.agent, action)
                    unsent[key.population] = target.group
        for name, group in unsent.items():
            self._release(name, group)

    def _release(self, population: str, group: Group) -> None:
        released = self._publisher.release(group)
        if released is not None:
            self._recorder.act(population, released)

    def _note(self) -> None:
        """Record a change, to be written and published."""
        self._unsaved = self._store is not None
        for changed in self.changed:
            changed()

    def _unix(self, ends: float) -> float:
        return round(self._clock.time() + ends - self._clock.monotonic(), 3)

    def _rows(self) -> list[dict[str, Any]]:
        return [
            key._asdict() | {"value": override.value, "until": self._unix(override.ends)}
            for key, override in self._active.items()
        ]

    def _save(self, now: float) -> None:
        self._unsaved, self._saved_at = False, now
        if self._store is None:
            return
        try:
            self._store.save(NAME, json.dumps({"v": 1, "overrides": self._rows()}).encode("ascii"))
        except PlatformError as error:
            log.warning("override: %s; a restart would end the overrides", error)

    def _load(self) -> None:
        """Take over what the last run left; a damaged file is logged and ignored."""
        try:
            data = None if self._store is None else self._store.load(NAME)
            if data is None:
                return
            rows = json.loads(data)["overrides"]
            kept = {
                Key(str(row["population"]), str(row["agent"]), str(row["control"])): (
                    str(row["value"]),
                    float(row["until"]),
                )
                for row in rows
            }
        except PlatformError as error:
            log.warning("override: %s; earlier overrides have ended", error)
        except (ValueError, RecursionError, KeyError, TypeError) as error:
            log.warning("override: %s: %s; earlier overrides have ended", NAME, error)
        else:
            longest = {
                entry.name: entry.home_assistant.override_s
                for entry in self._populations.config.population
                if entry.home_assistant is not None
            }
            for key, (value, until) in kept.items():
                seconds = min(until - self._clock.time(), longest.get(key.population, 0.0))
                if seconds > 0.0:
                    self._active[key] = Override(value, self._clock.monotonic() + seconds)


def _body(payload: bytes) -> Mapping[str, Any]:
    """Return a payload as a map that follows `wire.home_assistant_bodies.OVERRIDE`; raises PeerError."""
    if len(payload) > MAX_BYTES:
        raise PeerError(f"found {len(payload)} bytes, expected at most {MAX_BYTES}")
    try:
        body = json.loads(payload)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise PeerError(f"found {payload[:40]!r}, expected JSON with agent, control and value")
    check_plain(body, "override")
    check(home_assistant_bodies.OVERRIDE, body, "override")
    return body
