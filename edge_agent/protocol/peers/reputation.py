"""Reputation from the kept and broken promises that all devices report, equal on every device.

Theory of operation. A device counts, for each other, the promises it saw kept (a term as a confirmed member
of a coalition) and broken (gone without a goodbye, messages that break the protocol), and publishes its
accounts with its presence. An account is worth 1000 · (kept + 8) / (kept + 8 + 4 · broken), long ones
scaled to 64 promises so that the past fades. The reputation of a device is the lower median of the accounts
others keep of it, with full marks in the place of missing ones up to three: a single liar can lower nobody,
two that agree can. Steps of 50 keep it from disturbing coalitions all the time.
"""

from __future__ import annotations

from collections.abc import Iterable

from edge_agent.protocol.peers.objectives import SCALE
from edge_agent.wire.presence import MAX_ACCOUNTS

_HEAD_START = 8
_PENALTY = 4
_MEMORY = 64
_JURY = 3
_STEP = 50

Account = tuple[str, int, int]


def score(kept: int, broken: int) -> int:
    """Return what one account is worth, 0 to 1000."""
    total = kept + broken
    if total > _MEMORY:
        kept, broken = kept * _MEMORY // total, broken * _MEMORY // total
    return SCALE * (kept + _HEAD_START) // (kept + _HEAD_START + _PENALTY * broken)


def median(scores: Iterable[int]) -> int:
    """Return the reputation that accounts worth ``scores`` make."""
    votes = sorted(scores)
    votes += [SCALE] * (_JURY - len(votes))
    return votes[(len(votes) - 1) // 2] // _STEP * _STEP


class Reputations:
    """The reputation of every device, from the accounts of those that are present."""

    def __init__(self) -> None:
        self._scores: dict[str, dict[str, int]] = {}
        self._accounts: dict[str, tuple[Account, ...]] = {}

    def __getitem__(self, device: str) -> int:
        return median(self._scores.get(device, {}).values())

    def receive(self, observer: str, accounts: tuple[Account, ...]) -> set[str]:
        """Take an observer's accounts in place of its earlier ones; return whom that concerns."""
        before = self._accounts.get(observer, ())
        if accounts == before:
            return set()
        concerned = set(before) ^ set(accounts)
        for device, _, _ in before:
            votes = self._scores.get(device, {})
            votes.pop(observer, None)
            if not votes:
                self._scores.pop(device, None)
        for device, kept, broken in accounts:
            if device != observer:
                self._scores.setdefault(device, {})[observer] = score(kept, broken)
        self._accounts[observer] = accounts
        return {device for device, _, _ in concerned}


class Ledger:
    """The accounts this device keeps of others."""

    def __init__(self) -> None:
        self._kept: dict[str, int] = {}
        self._broken: dict[str, int] = {}

    def keep(self, device: str) -> None:
        """Count a promise kept."""
        self._kept[device] = self._kept.get(device, 0) + 1

    def spoil(self, device: str) -> None:
        """Count a promise broken."""
        self._broken[device] = self._broken.get(device, 0) + 1

    @property
    def accounts(self) -> tuple[Account, ...]:
        """What to publish: the worst first, as many as fit."""
        devices = sorted(
            self._kept.keys() | self._broken.keys(),
            key=lambda d: (score(self._kept.get(d, 0), self._broken.get(d, 0)), d),
        )
        return tuple((d, self._kept.get(d, 0), self._broken.get(d, 0)) for d in devices[:MAX_ACCOUNTS])
