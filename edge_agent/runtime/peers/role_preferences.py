"""What a role in a coalition adds to the preferences of a device's populations, for as long as it is held.

Theory of operation. The role's log-preferences come beside the populations' own, a shadow's too
(`protocol.peers.preferences`); without a role the own are alone again. A change is on the recording: a replay
must prefer the same.
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
