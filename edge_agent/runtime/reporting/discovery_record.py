"""A record of the components announced to Home Assistant, so that removed ones can be deleted there.

Theory of operation. Home Assistant keeps an entity until it is told that the entity is gone, and a broker
keeps a retained announcement until it is replaced by an empty one. The daemon that said it may have ended
since: the configuration lost a population or an agent, the device was renamed, or the option was taken out.
So the ids of components, with their platforms, and the topic are written down before they are announced, and
crossed out when their removal was announced. A disk that refuses is logged; the announcement goes out anyway.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from edge_agent.errors import PlatformError
from edge_agent.runtime.population.checkpoint import StateStore
from edge_agent.wire.discovery import component_ids
from edge_agent.wire.topics import DeviceTopics

NAME = "home-assistant.json"
MOST_GONE = 1000
"""Components that are gone and remembered; of more than these the oldest are forgotten."""

log = logging.getLogger("edge_agent")


class DiscoveryRecord:
    """The record of one device.

    Parameters
    ----------
    store : StateStore, optional
        Where it is kept; without one it is forgotten at the end.
    topic : str
        Where the announcement is retained from now on; empty if the device does not announce itself any more.
    topics : DeviceTopics
        The device's.

    Attributes
    ----------
    gone : mapping of str to str
        Ids that were announced and are not there any more, oldest first, and their platforms.
    stale : tuple of str
        Topics of announcements that have to be emptied.
    """

    def __init__(self, store: StateStore | None, topic: str, topics: DeviceTopics) -> None:
        self._store = store
        self._topic = topic
        self._present: Mapping[str, str] = {}
        self.gone: Mapping[str, str] = {}
        self.stale: tuple[str, ...] = ()
        was, components, stale = self._load(topics)
        if was == topic:
            self.gone = components
        elif was:
            stale = (*stale, was)
        self.stale = tuple(dict.fromkeys(old for old in stale if old != topic))

    def note(self, present: Mapping[str, str]) -> None:
        """Write down that the components ``present``, and no others, are about to be announced."""
        before = {**self.gone, **self._present}
        self._present = dict(present)
        gone = [id_ for id_ in before if id_ not in self._present][-MOST_GONE:]
        self.gone = {id_: before[id_] for id_ in gone}
        self._save()

    def forget(self) -> None:
        """Cross the components out that are gone: Home Assistant has heard of it."""
        self.gone = {}
        self._save()

    def emptied(self, topic: str) -> None:
        """Cross a topic out: the broker has the empty announcement."""
        self.stale = tuple(old for old in self.stale if old != topic)
        self._save()

    def _load(self, topics: DeviceTopics) -> tuple[str, dict[str, str], tuple[str, ...]]:
        """Return topic, components and stale topics of the last run; empty where there is nothing of use."""
        try:
            data = None if self._store is None else self._store.load(NAME)
            found = {} if data is None else json.loads(data)
            topic, components = found.get("topic", ""), found.get("components", {})
            populations, stale = found.get("populations", []), found.get("stale", [])
            if not isinstance(topic, str) or not isinstance(components, dict):
                raise ValueError("not as it was written")
            if not (_texts(list(components.values())) and _texts(populations) and _texts(stale)):
                raise ValueError("not as it was written")
        except PlatformError as error:
            log.warning("home assistant: %s; earlier announcements are unknown", error)
        except (ValueError, RecursionError, AttributeError) as error:
            log.warning("home assistant: %s: %s; earlier announcements are unknown", NAME, error)
        else:
            older = {id_: "sensor" for name in populations for id_ in component_ids(topics, name)}
            return topic, older | components, tuple(stale)
        return "", {}, ()

    def _save(self) -> None:
        if self._store is None:
            return
        components = {**self.gone, **self._present}
        record: dict[str, Any] = {"topic": self._topic, "components": components, "stale": self.stale}
        try:
            self._store.save(NAME, json.dumps(record).encode("ascii"))
        except PlatformError as error:
            log.warning("home assistant: %s; removed entities may stay in Home Assistant", error)


def _texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
