"""A rollout over a fleet: waves of devices, each of which must do well before the next one begins. No I/O.

Theory of operation. Devices are put in an order that only the rollout's id decides, and cut into waves at
the canary shares. A wave is sent; what each device reports moves it from *sent* to *committed*, or to
*failed* when it rolled back or refused. More failures than ``max_failures`` stop the rollout: nothing
more is sent, and devices that committed already are sent back to the bundle they had. Devices roll back
by themselves; the hub only has to stop. Paused means that no further wave begins. All of it is one JSON
object, so that a hub that was killed goes on where it was.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

from edge_agent.errors import ConfigError

RUNNING, PAUSED, STOPPED, ABORTED, DONE = "running", "paused", "stopped", "aborted", "done"
WAITING, SENT, COMMITTED, FAILED, REVERTED = "waiting", "sent", "committed", "failed", "reverted"


@dataclass(slots=True)
class Member:
    """One device of a rollout; ``previous`` is the digest it ran before, ``version`` that of its document."""

    state: str = WAITING
    reason: str = ""
    version: int = 0
    previous: str = ""
    stage: str = ""


@dataclass(slots=True)
class FleetRollout:
    """The state machine; see the module's head. ``began`` is when the present wave was sent, Unix seconds.

    ``url`` is where devices find the bundle, "" for blocks from the hub; ``config`` is what devices make
    the population of that do not have it.
    """

    id: str
    bundle: str
    name: str
    population: str
    waves: list[list[str]]
    members: dict[str, Member]
    gates: dict[str, float] = field(default_factory=dict)
    max_failures: int = 0
    patience: float = 3600.0
    status: str = RUNNING
    wave: int = -1
    began: float = 0.0
    reason: str = ""
    url: str = ""
    config: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of_state(cls, state: dict[str, Any]) -> FleetRollout:
        """Return the rollout that `state` was made of."""
        members = {name: Member(**fields) for name, fields in state["members"].items()}
        return cls(**(state | {"members": members}))

    def state(self) -> dict[str, Any]:
        """Return all of it, as JSON."""
        return asdict(self)

    def step(self, now: float) -> list[str]:
        """Return the devices that are to be sent the new bundle now."""
        if self.status != RUNNING:
            return []
        failed = [n for n, m in self.members.items() if m.state == FAILED]
        if len(failed) > self.max_failures:
            self._stop(STOPPED, f"{len(failed)} failed: {failed[0]}: {self.members[failed[0]].reason}")
            return []
        current = self.waves[self.wave] if self.wave >= 0 else []
        pending = [n for n in current if self.members[n].state in (WAITING, SENT)]
        if pending:
            if now - self.began > self.patience:
                self._stop(STOPPED, f"{pending[0]} did not end within {self.patience:g} s")
            return [n for n in pending if self.members[n].state == WAITING]
        if self.wave + 1 == len(self.waves):
            self.status = DONE
            return []
        self.wave += 1
        self.began = now
        return list(self.waves[self.wave])

    def sent(self, device: str, version: int, previous: str) -> None:
        """Take note that a device has its document on the way."""
        member = self.members[device]
        member.state, member.version = SENT, version
        if previous != self.bundle:
            member.previous = previous

    def unsent(self, device: str, reason: str) -> None:
        """Take note that a device can't be sent a document."""
        member = self.members[device]
        member.state, member.reason = FAILED, reason

    def reported(self, device: str, body: dict[str, Any]) -> None:
        """Take in what a device reports."""
        member = self.members.get(device)
        if member is None or member.state != SENT:
            return
        refused = body.get("refused", {})
        if refused.get("version") == member.version:
            member.state, member.reason = FAILED, f"refused: {refused.get('reason', '')}"
            return
        if body.get("version", 0) < member.version:
            return
        progress = body.get("rollouts", {}).get(self.population, {})
        if body.get("populations", {}).get(self.population, {}).get("bundle") == self.bundle:
            member.state, member.stage = COMMITTED, "committed"
        elif progress.get("bundle") == self.bundle:
            member.stage = str(progress.get("stage", ""))
            if member.stage == "rolled-back":
                member.state, member.reason = FAILED, str(progress.get("reason", ""))

    def pause(self) -> None:
        """Begin no further wave."""
        if self.status == RUNNING:
            self.status = PAUSED

    def resume(self) -> None:
        """Go on."""
        if self.status == PAUSED:
            self.status = RUNNING

    def abort(self) -> None:
        """End it and send everything back."""
        if self.status in (RUNNING, PAUSED):
            self._stop(ABORTED, "aborted by hand")

    def to_revert(self) -> list[str]:
        """Return the devices that are to be sent back to what they ran before."""
        if self.status not in (STOPPED, ABORTED):
            return []
        sent = [n for n, m in self.members.items() if m.state in (SENT, COMMITTED)]
        return [n for n in sent if self.members[n].previous or self.config]

    def reverted(self, device: str) -> None:
        """Take note that a device was sent back."""
        self.members[device].state = REVERTED

    def _stop(self, status: str, reason: str) -> None:
        self.status, self.reason = status, reason


def waves(devices: Sequence[str], shares: Sequence[float], id_: str) -> list[list[str]]:
    """Cut devices into waves at cumulative ``shares`` in (0, 1]; a wave has at least one device."""
    order = sorted(devices, key=lambda name: hashlib.sha256(f"{id_}/{name}".encode()).digest())
    cuts, done = [], 0
    for share in shares:
        upto = min(len(order), max(done + 1, math.ceil(share * len(order) - 1e-9)))
        if upto > done:
            cuts.append(order[done:upto])
        done = upto
    return cuts


def parse_shares(text: str) -> list[float]:
    """Take ``5%,25%,100%`` apart.

    Raises
    ------
    ConfigError
        Not growing percentages that end with 100.
    """
    try:
        shares = [float(part.removesuffix("%")) / 100.0 for part in text.split(",")]
    except ValueError:
        shares = []
    growing = all(a < b for a, b in pairwise(shares))
    if not shares or not growing or shares[0] <= 0 or shares[-1] != 1.0:
        raise ConfigError(f"--canary: found {text!r}, expected growing percentages that end with 100%")
    return shares
