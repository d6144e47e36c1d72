"""The roster: a replicated map of devices that converges whatever the order, loss or repetition of messages.

Theory of operation. A state-based replicated data type (Shapiro et al. 2011, "Conflict-free Replicated Data
Types"). A device alone writes its entry; entries are ordered by (incarnation, seq), and the join of two is
the later one. Should a device ever say two things under one number, the greater bytes win: anywhere, in any
order, the same ones. Next to the entry stands the greatest incarnation known to be over, from a will or a
goodbye; its join is the maximum. Both joins are commutative, associative and idempotent, and so is the
map's.

An incarnation is one connection: the will that the broker keeps names the incarnation it is for, so that a
will that is late doesn't bury the device that is back. What a heartbeat that fails to come means is not
known here (`members`): it depends on the clock, and clocks are not replicated.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgpack

from edge_agent.errors import PeerError
from edge_agent.wire.presence import Presence, to_body

_NEVER = -1


@dataclass(frozen=True, slots=True)
class RosterEntry:
    """What is known of one device: its latest word, and the greatest incarnation that is over."""

    presence: Presence | None = None
    over: int = _NEVER

    @property
    def present(self) -> bool:
        """Whether the device's latest word is one of an incarnation that is not over."""
        latest = self.presence
        return latest is not None and not latest.leaving and latest.incarnation > self.over

    def join(self, other: RosterEntry) -> RosterEntry:
        """Return the least entry that holds what both hold."""
        joined = RosterEntry(_later(self.presence, other.presence), max(self.over, other.over))
        return self if joined == self else joined


class Roster:
    """The replicated map. ``limit`` bounds the devices in it: names beyond it are refused."""

    def __init__(self, limit: int = 16384) -> None:
        self._entries: dict[str, RosterEntry] = {}
        self._limit = limit

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Roster) and self._entries == other._entries

    __hash__ = None  # type: ignore[assignment]

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._entries))

    def entry(self, device: str) -> RosterEntry:
        """Return what is known of a device, an empty entry if nothing is."""
        return self._entries.get(device, RosterEntry())

    def put(self, presence: Presence) -> bool:
        """Join in a presence message; return whether anything changed."""
        return self._join(presence.device, RosterEntry(presence))

    def end(self, device: str, incarnation: int) -> bool:
        """Join in that an incarnation, and those before it, are over; return whether anything changed."""
        return self._join(device, RosterEntry(None, incarnation))

    def _join(self, device: str, entry: RosterEntry) -> bool:
        known = self._entries.get(device)
        if known is None:
            if len(self._entries) >= self._limit:
                raise PeerError(f"roster: {device} would be one more than {self._limit} devices")
            self._entries[device] = entry
            return True
        joined = known.join(entry)
        self._entries[device] = joined
        return joined is not known


def version(presence: Presence) -> tuple[int, int]:
    """Return what orders the words of one device."""
    return (presence.incarnation, presence.seq)


def _later(one: Presence | None, other: Presence | None) -> Presence | None:
    if one is None or other is None:
        return one if other is None else other
    if version(one) != version(other):
        return max(one, other, key=version)
    return max(one, other, key=_text)


def _text(presence: Presence) -> Any:
    return msgpack.packb(to_body(presence))
