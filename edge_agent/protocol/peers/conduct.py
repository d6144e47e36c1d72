"""Protocol violations of peers: the messages are ignored, counted by device and kind, and lower the
reputation.

Theory of operation. Every message passes `Conduct.admit` first: a token bucket per device limits the
processing time of a flood. A violation is an `Offence`. All offences of one kind within a ``pause`` are one
broken promise. A duplicate is not an offence, since brokers may deliver twice.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from edge_agent.protocol.peers.reputation import Ledger

OTHERS = "(others)"


class Offence(enum.Enum):
    """What was wrong with a message."""

    NAME = "speaks for another device"
    MALFORMED = "not what the topic is for"
    FLOOD = "more messages than agreed"
    CLOCK = "clock too far from ours"
    REPLAY = "an old message again"
    CONFLICT = "says two things about one tick"


@dataclass(frozen=True, slots=True)
class ConductSettings:
    """``rate`` messages per second with bursts of ``burst``; times in seconds."""

    rate: float = 4.0
    burst: float = 80.0
    pause: float = 10.0
    devices: int = 16384


class Conduct:
    """Judges messages by their sender, and holds what it finds against them in ``ledger``."""

    def __init__(self, settings: ConductSettings, ledger: Ledger) -> None:
        self._settings = settings
        self._ledger = ledger
        self._tokens: dict[str, tuple[float, float]] = {}
        self._counts: dict[str, dict[Offence, int]] = {}
        self._latest: dict[tuple[str, Offence], float] = {}

    @property
    def counts(self) -> Mapping[str, Mapping[Offence, int]]:
        """Ignored messages by device and kind, since the process started."""
        return self._counts

    def admit(self, device: str, now: float) -> bool:
        """Whether a message of ``device`` may be looked at now (monotonic seconds)."""
        if device not in self._tokens and len(self._tokens) >= self._settings.devices:
            return False
        tokens, since = self._tokens.get(device, (self._settings.burst, now))
        tokens = min(self._settings.burst, tokens + (now - since) * self._settings.rate)
        admitted = tokens >= 1.0
        self._tokens[device] = (tokens - 1.0 if admitted else tokens, now)
        return admitted

    def record_offence(self, device: str, offence: Offence, now: float) -> None:
        """Count an offence; where too many names offend, under `OTHERS`, and against nobody's reputation."""
        if device not in self._counts and len(self._counts) >= self._settings.devices:
            device = OTHERS
        counts = self._counts.setdefault(device, {})
        counts[offence] = counts.get(offence, 0) + 1
        latest = self._latest.get((device, offence))
        if latest is not None and now - latest < self._settings.pause:
            return
        self._latest[device, offence] = now
        if device != OTHERS:
            self._ledger.spoil(device)
