"""Joint action: adds a role's log-preferences to an agent's preferences C while the coalition is confirmed.

Theory of operation. A role carries log-preferences by modality (`objectives.Role.preferences`). While the
coalition is confirmed they are added to the agent's own C, outcome by outcome; when it ends the own C alone
is back. Nothing else is commanded: the agent still plans by itself, from what it believes, towards what it
now prefers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from edge_agent.errors import ConfigError
from edge_agent.protocol.peers.objectives import Role


def adjusted(C: Mapping[str, Sequence[float]], role: Role | None) -> dict[str, list[float]]:
    """Return the preferences of an agent in ``role``, or without one.

    Parameters
    ----------
    C : mapping of modality name to sequence of float
        The agent's own log-preferences, nats, one an outcome.
    role : Role, optional
        None for an agent in no confirmed coalition. Modalities the agent does not have are left out: a role
        may be held by agents of different kinds.

    Raises
    ------
    ConfigError
        A role has another number of outcomes for a modality than the agent, or one that is not finite.
    """
    wanted = {} if role is None else role.preferences
    result = {}
    for modality, own in C.items():
        added = wanted.get(modality)
        if added is None:
            result[modality] = list(own)
            continue
        if len(added) != len(own) or not all(math.isfinite(value) for value in added):
            name = "" if role is None else role.name
            raise ConfigError(
                f"role {name!r}: preferences for {modality!r}: found {list(added)},"
                f" expected {len(own)} finite numbers"
            )
        result[modality] = [mine + more for mine, more in zip(own, added, strict=True)]
    return result
