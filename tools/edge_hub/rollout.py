"""A rollout over a fleet in waves of devices; each wave must succeed before the next one starts. No I/O.

Theory of operation. Devices are sorted in an order that depends only on the rollout's id, and divided into
waves at the canary shares. A wave is sent; the reports of a device change it from *sent* to *committed*, or
to *failed* if it rolled back or refused. A device that does not report a result within ``patience`` seconds
has also failed; a later result still counts. A device that is offline when its wave is sent is *parked*: the
broker keeps its document, the rollout continues without it, it does not count as a failure, and it takes
part when it returns.

More than ``max_failures`` failures stop the rollout: no further wave starts, and devices that have not
committed are reverted. Devices that have committed keep the new bundle if at least ``min_success`` of the
devices that were tried have committed; one silent device is never a reason to revert them. Devices roll back
by themselves; the hub only has to stop. If no device of a wave has committed and some are parked, the next
wave waits for them. While the rollout is paused, no further wave starts. The whole state is one JSON object,
so that another process can continue the rollout after a crash.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import pairwise
from typing import Any

from edge_agent.errors import ConfigError
from edge_agent.wire.releases import config_digest

RUNNING, PAUSED, STOPPED, ABORTED, DONE = "running", "paused", "stopped", "aborted", "done"
WAITING, SENT, PARKED = "waiting", "sent", "parked"
COMMITTED, FAILED, REVERTED = "committed", "failed", "reverted"
STATES = (WAITING, SENT, PARKED, COMMITTED, FAILED, REVERTED)
NOTHING_SET = config_digest({})
"""What a device runs that does not report a configuration of the hub."""
_REASONS = {
    WAITING: "its wave has not begun",
    SENT: "has not ended yet",
    PARKED: "offline when its wave was sent; takes part when it returns",
    COMMITTED: "runs the new bundle",
}
MIN_SUCCESS = 0.9
CONFIGURATION = "#configuration"
"""Stands for the name of a population in a rollout of configuration."""


@dataclass(slots=True)
class Member:
    """One device of a rollout.

    ``previous`` is the digest it ran before, ``version`` that of its document, ``since`` when it was sent or
    came back, Unix seconds. ``silent``: it failed by reporting nothing. ``stays``: it can't be sent back.
    """

    state: str = WAITING
    reason: str = ""
    version: int = 0
    previous: str = ""
    stage: str = ""
    since: float = 0.0
    silent: bool = False
    stays: bool = False


@dataclass(slots=True)
class FleetRollout:
    """The state machine; see the module's head. ``began`` is when the present wave was sent, Unix seconds.

    ``url`` is where devices find the bundle, "" for blocks from the hub; ``config`` is what devices make
    the population of that do not have it. With the population `CONFIGURATION` no bundle is rolled out but
    ``config``, values of the devices' configuration; ``bundle`` is its digest then, and ``previous`` of a
    member the JSON of the values that it had. ``keep``: it was stopped, and who committed keeps the new one.
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
    min_success: float = MIN_SUCCESS
    keep: bool = False

    @classmethod
    def of_state(cls, state: dict[str, Any]) -> FleetRollout:
        """Return the rollout that `state` was made of."""
        members = {name: Member(**fields) for name, fields in state["members"].items()}
        return cls(**(state | {"members": members}))

    def state(self) -> dict[str, Any]:
        """Return all of it, as JSON; lists and tables are not copied, except those of the members."""
        # dataclasses.asdict copies each value: 10,000 members take it 20 times as long.
        members = {name: {key: getattr(m, key) for key in _MEMBER} for name, m in self.members.items()}
        return {key: getattr(self, key) for key in _ROLLOUT} | {"members": members}

    def step(self, now: float, offline: Container[str] = ()) -> list[str]:
        """Return the devices that are to be sent the new bundle now; ``offline`` are those known to be so."""
        if self.status != RUNNING:
            return []
        self._judge_time(now, offline)
        failed = self._in(FAILED)
        if len(failed) > self.max_failures:
            reason = f"{len(failed)} failed: {failed[0]}: {self.members[failed[0]].reason}"
            self._stop(STOPPED, reason, self._healthy(failed))
            return []
        names = self.waves[self.wave] if self.wave >= 0 else []
        states = [self.members[name].state for name in names]
        last = self.wave + 1 == len(self.waves)
        if WAITING in states or SENT in states or (last and self._in(SENT)):
            return [name for name in names if self.members[name].state == WAITING]
        if last:
            self._end()
            return []
        if PARKED in states and COMMITTED not in states:
            if now - self.began > self.patience:
                self._stop(STOPPED, f"wave {self.wave + 1}: no device of it is online", True)
            return []
        self.wave += 1
        self.began = now
        return list(self.waves[self.wave])

    def restart(self, now: float) -> None:
        """Begin all waiting anew: nothing could be heard until now, so silence says nothing yet."""
        self.began = now
        for name in self._in(SENT):
            self.members[name].since = now

    def sent(self, device: str, version: int, previous: str, now: float = 0.0, offline: bool = False) -> None:
        """Take note that a device has its document on the way, or at the broker until it returns."""
        member = self.members[device]
        member.state, member.version, member.since = PARKED if offline else SENT, version, now
        if previous != self.bundle:
            member.previous = previous

    def unsent(self, device: str, reason: str) -> None:
        """Take note that a device can't be sent a document."""
        member = self.members[device]
        member.state, member.reason = FAILED, reason

    def reported(self, device: str, body: dict[str, Any]) -> None:
        """Take in what a device reports."""
        member = self.members.get(device)
        if member is None or not (member.state in (SENT, PARKED) or member.silent):
            return
        refused = body.get("refused", {})
        if refused.get("version") == member.version:
            self._decided(member, FAILED, f"refused: {refused.get('reason', '')}")
            return
        if body.get("version", 0) < member.version:
            return
        running, progress = self.told(body)
        if running == self.bundle:
            self._decided(member, COMMITTED, "")
            member.stage = "committed"
        elif progress.get("bundle") == self.bundle:
            member.stage = str(progress.get("stage", ""))
            if member.stage == "rolled-back":
                self._decided(member, FAILED, str(progress.get("reason", "")) or "rolled back")

    def told(self, body: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
        """Return which digest a device runs by its report, and how its rollout stands."""
        if self.population == CONFIGURATION:
            own: Mapping[str, Any] = body.get("configuration", {})
            return own.get("digest", NOTHING_SET), own.get("rollout", {})
        running = body.get("populations", {}).get(self.population, {}).get("bundle", "")
        return running, body.get("rollouts", {}).get(self.population, {})

    def pause(self) -> None:
        """Begin no further wave."""
        if self.status == RUNNING:
            self.status = PAUSED

    def resume(self) -> None:
        """Go on; a rollout that is done goes on for the devices that were parked."""
        if self.status == PAUSED or (self.status == DONE and self._in(PARKED)):
            self.status, self.reason = RUNNING, ""

    def abort(self) -> None:
        """End it and send everything back."""
        if self.status in (RUNNING, PAUSED):
            self._stop(ABORTED, "aborted by hand", False)

    def to_revert(self) -> list[str]:
        """Return the devices that are to be sent back to what they ran before."""
        if self.status not in (STOPPED, ABORTED):
            return []
        found = []
        for name, member in self.members.items():
            under_way = member.state in (SENT, PARKED) or member.silent
            going = under_way or (member.state == COMMITTED and not self.keep)
            if going and not member.stays and (member.previous or self.config):
                found.append(name)
        return found

    def reverted(self, device: str) -> None:
        """Take note that a device was sent back."""
        member = self.members[device]
        if member.silent:
            member.silent, member.reason = False, f"{member.reason}; sent back"
        else:
            member.state, member.reason = REVERTED, f"sent back: {self.reason}"

    def not_reverted(self, device: str, reason: str) -> None:
        """Take note that a device can't be sent back."""
        member = self.members[device]
        member.stays, member.reason = True, f"not sent back: {reason}"

    def outcomes(self) -> dict[str, dict[str, str]]:
        """Return state and reason of every device."""
        return {
            name: {"state": member.state, "reason": member.reason or _REASONS.get(member.state, member.stage)}
            for name, member in self.members.items()
        }

    @property
    def succeeded(self) -> bool:
        """Whether it is done and enough of all devices run the new bundle."""
        committed = len(self._in(COMMITTED))
        return self.status == DONE and committed >= self.min_success * len(self.members)

    def _in(self, state: str) -> list[str]:
        return [name for name, member in self.members.items() if member.state == state]

    def _judge_time(self, now: float, offline: Container[str]) -> None:
        for name, member in self.members.items():
            if member.state == PARKED and name not in offline:
                member.state, member.since = SENT, now
            elif member.state == SENT and now - member.since > self.patience:
                where = ", and is offline" if name in offline else ""
                member.state, member.silent = FAILED, True
                member.reason = f"did not end within {self.patience:g} s{where}"

    def _healthy(self, failed: Sequence[str]) -> bool:
        """Whether those that committed keep the bundle although the rollout is stopped."""
        if len(failed) == 1 and self.members[failed[0]].silent:
            return True
        committed = len(self._in(COMMITTED))
        return committed >= self.min_success * (committed + len(failed))

    def _decided(self, member: Member, state: str, reason: str) -> None:
        member.state, member.reason, member.silent = state, reason, False

    def _end(self) -> None:
        self.status = DONE
        committed, parked = len(self._in(COMMITTED)), len(self._in(PARKED))
        self.reason = f"{parked} parked" if parked else ""
        if not self.succeeded:
            self.reason = (
                f"{committed} of {len(self.members)} committed, expected {self.min_success:.4g} of them"
            )

    def _stop(self, status: str, reason: str, keep: bool) -> None:
        self.status, self.reason, self.keep = status, reason, keep


_MEMBER = tuple(entry.name for entry in fields(Member))
_ROLLOUT = tuple(entry.name for entry in fields(FleetRollout))


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
