"""Devices that join a group after its rollout was done: they get what it has, as a wave of their own."""

from __future__ import annotations

from collections.abc import Iterable

from edge_hub.rollout import DONE, RUNNING, FleetRollout, Member


def join(rollout: FleetRollout, devices: Iterable[str]) -> bool:
    """Add devices to a rollout that is done, and let it go on; return whether there were any."""
    new = sorted(name for name in devices if name not in rollout.members)
    if not new or rollout.status != DONE:
        return False
    rollout.members |= {name: Member() for name in new}
    rollout.waves.append(new)
    rollout.status = RUNNING
    return True
