"""Adds the log-preferences of a coalition role to the device's populations while the role is held.

Theory of operation. They are added to the populations' own preferences, and to those of a shadow
(`protocol.peers.preferences`), and removed when the role ends. A change is recorded, since a replay needs the
same preferences.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from edge_agent.errors import ConfigError, ModelError
from edge_agent.protocol.peers.objectives import Role
from edge_agent.protocol.peers.preferences import adjusted
from edge_agent.runtime.peers.shared_factors import populations_of
from edge_agent.runtime.population.group import Group
from edge_agent.runtime.recording.recorder import Recorder

log = logging.getLogger("edge_agent")


def prefer(groups: Mapping[str, Group], role: Role | None, recorder: Recorder) -> None:
    """Let every population prefer what ``role`` asks for beside its own, or its own alone.

    A role that does not fit a population's model changes nothing there; the log says so.
    """
    for name, group in groups.items():
        modalities = {m.name: [0.0] * m.size for m in group.binding.modalities}
        try:
            totals = adjusted(modalities, role).values()
            added = {m: values for m, values in enumerate(totals) if any(values)}
            for population in populations_of(group):
                population.prefer(added)
        except (ConfigError, ModelError) as error:
            log.warning("peers: population %s: %s; it keeps its own preferences", name, error)
            continue
        changed, group.preferred = added != group.preferred, added
        if changed:
            recorder.prefer(name, group)
