"""The devices that are online now, from the roster and the age of their last messages.

Theory of operation. A device is online while its entry is present (`roster`) and its last presence message is
at most `PATIENCE` heartbeats old. The age is measured from arrival on this device's monotonic clock; for a
retained message, which the broker may have stored for days, from the sender's time stamp. With 1.5
heartbeats, all devices of a broker agree within two heartbeats of any change. Formation uses the `Candidate`
of a member; `changes` returns the changed ones.
"""

from __future__ import annotations

import heapq
import math

from edge_agent.protocol.peers.objectives import Candidate
from edge_agent.protocol.peers.reputation import Reputations
from edge_agent.protocol.peers.roster import Roster
from edge_agent.wire.presence import Position, Presence

PATIENCE = 1.5
_CHARGE_STEP = 20


class Members:
    """The members of a fleet.

    Parameters
    ----------
    me : str
        This device, which is always here unless it says goodbye.
    heartbeat : float
        Seconds between a device's words.
    limit : int
        Devices the roster may hold.
    """

    def __init__(self, me: str, heartbeat: float, limit: int = 16384) -> None:
        self.me = me
        self.roster = Roster(limit)
        self.reputations = Reputations()
        self._patience = PATIENCE * heartbeat
        self._here: dict[str, Presence] = {}
        self._last_seen: dict[str, float] = {}
        self._deadlines: list[tuple[float, str]] = []
        self._changed: set[str] = set()

    def __len__(self) -> int:
        return len(self._here)

    def __contains__(self, device: str) -> bool:
        return device in self._here

    def presence(self, device: str) -> Presence | None:
        """Return the latest presence message of an online device."""
        return self._here.get(device)

    def receive(self, presence: Presence, now: float, age: float = 0.0) -> bool:
        """Take a presence message that is ``age`` seconds old; return whether it was news.

        Raises
        ------
        PeerError
            The roster is full.
        """
        news = self.roster.put(presence)
        device = presence.device
        if news and device != self.me:
            heard = max(self._last_seen.get(device, now - age), now - age)
            self._last_seen[device] = heard
            heapq.heappush(self._deadlines, (heard + self._patience, device))
        self._update(device, now)
        return news

    def end(self, device: str, incarnation: int, now: float) -> None:
        """Take a will: the incarnation, and those before it, are over."""
        self.roster.end(device, incarnation)
        self._update(device, now)

    def expire(self, now: float) -> list[str]:
        """Let go of devices that fell silent; return them."""
        silent = []
        while self._deadlines and self._deadlines[0][0] < now:
            _, device = heapq.heappop(self._deadlines)
            if device in self._here and self._last_seen[device] + self._patience < now:
                silent.append(device)
                self._update(device, now)
        return silent

    @property
    def deadline(self) -> float:
        """Until when `expire` has nothing to do."""
        return self._deadlines[0][0] if self._deadlines else math.inf

    @property
    def changed(self) -> bool:
        """Whether `changes` would return any."""
        return bool(self._changed)

    def changes(self) -> set[str]:
        """Return whose candidate may have changed since the last call."""
        changed, self._changed = self._changed, set()
        return changed

    def candidate(self, device: str) -> Candidate | None:
        """Return what formation may see of a device, None if it is not here."""
        here = self._here.get(device)
        if here is None:
            return None
        return Candidate(device, *_seen(here), self.reputations[device])

    def _update(self, device: str, now: float) -> None:
        entry = self.roster.entry(device)
        awake = device == self.me or self._last_seen.get(device, now) + self._patience >= now
        presence = entry.presence if entry.present and awake else None
        before = self._here.get(device)
        if presence is before:
            return
        if presence is None or before is None or _seen(presence) != _seen(before):
            self._changed.add(device)
        if presence is None:
            del self._here[device]
        else:
            self._here[device] = presence
        self._changed |= self.reputations.receive(device, () if presence is None else presence.accounts)


def _seen(presence: Presence) -> tuple[tuple[str, ...], Position, int, int]:
    """Return what coalitions depend on. Charge goes in steps, not to disturb them all the time."""
    charge = presence.battery // _CHARGE_STEP * _CHARGE_STEP
    return (presence.capabilities, presence.position, presence.capacity, charge)
