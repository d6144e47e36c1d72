"""What Home Assistant does with discovery messages and states, as read in the sources of its 2026.2.3 and
seen there.

``components/mqtt/discovery.py``: a component with its platform alone is removed if this run has discovered
it, and ignored otherwise; the same for an empty message and all components of the device; a message that
arrives while a component is set up is dropped from that component on. ``entity.py``: the registry outlives a
restart; an entity is unavailable until the availability topic says otherwise. ``sensor.py``: with
``expire_after`` it is unavailable until the first state. With several availability topics the latest message
counts. ``async_render_with_possible_json_value``: a
template that meets an undefined value is an error in the log.
"""

from __future__ import annotations

import contextlib
import json
from typing import Any

import jinja2

SETUP_S = 3.0
"""Seconds until a component that was discovered is set up."""
DISCOVERY_S = 5.0
"""Seconds without discoveries after which it says that it is online (``client.py``: `DISCOVERY_COOLDOWN`)."""


class HomeAssistant:
    """One installation; ``now`` is a time in seconds, ``registry`` what its user sees."""

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.registry: set[str] = set()
        self.problems: list[str] = []
        self.restart()

    def restart(self) -> None:
        """End and start again: entities stay in the registry, and nothing is discovered."""
        self.discovered: dict[str, dict[str, Any]] = {}
        self._ready: dict[str, float] = {}
        self.states: dict[str, str] = {}
        self.available = False

    def receive(self, topic: str, payload: bytes, now: float) -> None:
        """Take one message in."""
        if topic == self.topic:
            self._discover(payload, now)
        for id_, component in self.discovered.items():
            if self._ready[id_] > now:
                continue
            if topic == component["state_topic"]:
                self.states[id_] = self._render(component["value_template"], payload)
            for source in component["availability"]:
                if topic == source["topic"]:
                    self.available = self._render(source["value_template"], payload) == "online"

    def unavailable(self) -> set[str]:
        """Return the entities that are shown as unavailable."""
        return {id_ for id_ in self.registry if not self.available or id_ not in self.states}

    def _discover(self, payload: bytes, now: float) -> None:
        if not payload:
            if not self.discovered:
                self.problems.append("No device components to cleanup")
            for id_ in list(self.discovered):
                self._remove(id_)
            return
        message = json.loads(payload)
        shared = {key: message[key] for key in ("state_topic", "availability")}
        for id_, component in message["components"].items():
            if self._ready.get(id_, now) > now:
                return
            if component.keys() != {"platform"}:
                if id_ not in self.discovered:
                    self._ready[id_] = now + SETUP_S
                self.discovered[id_] = shared | component
                self.registry.add(component["unique_id"])
            elif id_ in self.discovered:
                self._remove(id_)

    def _remove(self, id_: str) -> None:
        del self.discovered[id_]
        self.registry.discard(id_)
        self.states.pop(id_, None)

    def _render(self, template: str, payload: bytes) -> str:
        try:
            environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)
            values = {"value": payload.decode("latin-1")}
            with contextlib.suppress(ValueError):
                values["value_json"] = json.loads(payload)
            return environment.from_string(template).render(values)
        except jinja2.UndefinedError as error:
            self.problems.append(f"{template}: {error}")
            return ""
