"""What the hub sets in the device's configuration: the values in force, and those that are on trial.

Theory of operation. A desired document may carry ``configuration``: values of the keys that a hub may set
(`config.remote`). They replace what an earlier document set, all of them; an empty object leaves the file
alone. A new set goes through the state machine of bundles (`protocol.rollout.Rollout`), under the name
`CONFIGURATION`, which no population can have:

* verified: checked with the file as ``edge-agent check`` does, and planned; nothing runs yet
* shadow run: the device as it is, measured for ``shadow_seconds``; what the trial is compared with
* trial: the values apply; health that falls beyond a gate, too few steps or too many restarts undo them
* committed: they are kept, and applied at each start

What is in force after a power cut is what was committed. A document without the key changes nothing. While
bundles are rolled out a configuration waits, and while one is checked or on trial bundles wait.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge_agent.errors import PeerError
from edge_agent.protocol.rollout import ENDED, Gates, Rollout, RolloutEffect, Stage
from edge_agent.wire import fields
from edge_agent.wire.releases import config_digest

CONFIGURATION = "#configuration"
"""Stands for the name of a population in a rollout of configuration."""

Values = Mapping[str, Any]


class RemoteConfiguration:
    """The values in force and the newest ones that were asked for.

    Parameters
    ----------
    state : mapping, optional
        What `state` returned before the restart.

    Raises
    ------
    PeerError
        It is something else.
    """

    def __init__(self, state: Mapping[str, Any] | None = None) -> None:
        state = state or {}
        self.values: Values = fields.mapping(state, "values")
        self.wanted: Values = fields.mapping(state, "wanted")

    @property
    def digest(self) -> str:
        """Name of the values in force: SHA-256 of their canonical JSON in hex."""
        return config_digest(self.values)

    def state(self) -> dict[str, Any]:
        """Return what must survive a restart, as part of the state; empty if the hub has set nothing."""
        found = {"values": dict(self.values), "wanted": dict(self.wanted)}
        return {"configuration": found} if any(found.values()) else {}

    def adopt(
        self, document: Mapping[str, Any], rollouts: dict[str, Rollout], now: float
    ) -> list[RolloutEffect]:
        """Take in a desired document; a new set of values becomes a rollout in ``rollouts``."""
        wanted, old = document.get("configuration"), rollouts.get(CONFIGURATION)
        digest = config_digest(wanted)
        if wanted is None or (old is not None and old.bundle == digest and old.stage not in ENDED):
            return []
        effects: list[RolloutEffect] = []
        if old is not None:
            effects = old.failed("another configuration is desired", now)
            del rollouts[CONFIGURATION]
        if digest == self.digest:
            return effects
        self.wanted = wanted
        rollout = rollouts[CONFIGURATION] = Rollout(CONFIGURATION, digest, self.digest, Gates())
        try:
            rollout.gates = Gates.of(document.get("gates", {}))
        except PeerError as error:
            effects += rollout.failed(str(error), now)
        return effects

    def lose(self, reason: str, rollouts: dict[str, Rollout]) -> None:
        """Take note that the values in force could not be applied at the start, and those of the file are."""
        rollout = rollouts[CONFIGURATION] = Rollout(CONFIGURATION, self.digest, "", Gates())
        rollout.stage, rollout.reason = Stage.ROLLED_BACK, reason
        self.values, self.wanted = {}, {}

    def commit(self) -> None:
        """Put what was on trial in force."""
        self.values, self.wanted = self.wanted, {}

    def reported(self, rollout: Rollout | None, progress: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the reported document says of it; empty if there is nothing to say."""
        if rollout is None and not self.values:
            return {}
        found: dict[str, Any] = {"digest": self.digest, "values": dict(self.values)}
        return found | ({"rollout": dict(progress)} if rollout is not None else {})


def waits(rollouts: Mapping[str, Rollout]) -> bool:
    """Whether the configuration's rollout has not begun, and may: no bundle is under way."""
    own = rollouts.get(CONFIGURATION)
    others = (rollout for name, rollout in rollouts.items() if name != CONFIGURATION)
    return own is not None and own.stage is Stage.FETCHING and all(r.stage in ENDED for r in others)


def is_busy(rollouts: Mapping[str, Rollout]) -> bool:
    """Whether a configuration is checked or on trial, so that bundles wait."""
    own = rollouts.get(CONFIGURATION)
    return own is not None and own.stage not in ENDED and own.stage is not Stage.FETCHING
