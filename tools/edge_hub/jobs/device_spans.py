"""A span for each device of a rollout, from its document until its answer."""

from __future__ import annotations

from edge_hub import tracing
from edge_hub.rollout import COMMITTED, FAILED, FleetRollout

ENDED = (COMMITTED, FAILED)


class DeviceSpans:
    """Knows whose span was made: devices that had ended before get none.

    Parameters
    ----------
    rollout : FleetRollout
        As it is when this process takes it up.
    """

    def __init__(self, rollout: FleetRollout) -> None:
        self._made = _ended(rollout) if tracing.enabled() else set()

    def make(self, rollout: FleetRollout, now: float) -> None:
        """Make the spans of devices that ended since the last call, under the span that is open here.

        ``now`` in Unix seconds is taken for the end: rollouts are looked at once per second.
        """
        if not tracing.enabled():
            return
        for name in sorted(_ended(rollout) - self._made):
            member = rollout.members[name]
            attributes = {"device": name, "state": member.state, "version": member.version}
            error = member.reason if member.state == FAILED else None
            tracing.record("rollout device", member.since or now, now, attributes, error=error)
            self._made.add(name)


def _ended(rollout: FleetRollout) -> set[str]:
    return {name for name, member in rollout.members.items() if member.state in ENDED}
