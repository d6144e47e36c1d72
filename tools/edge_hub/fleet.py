"""The state of a fleet, computed from the messages of its devices. No I/O.

Theory of operation. Birth messages list the devices, reported messages what they run, telemetry their
measurements. A message is assigned by its topic; a message that breaks the protocol is rejected and changes
nothing. Telemetry marked ``delta`` is merged into the known values, other telemetry replaces them;
historical telemetry counts toward gaps but does not change the values. Sequence numbers are tracked per
device: a missing number is a gap until it arrives or a later message reports it as thinned out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from edge_agent.wire import bodies, messages, topics
from edge_hub.rejected import Rejected


@dataclass(slots=True)
class Gaps:
    """Which sequence numbers of one device are still missing, and how many came twice.

    ``missing`` is bounded: past ``limit`` the oldest are written off as ``lost``.
    """

    highest: int = 0
    missing: set[int] = field(default_factory=set)
    thinned: list[tuple[int, int]] = field(default_factory=list)
    duplicates: int = 0
    lost: int = 0
    limit: int = 100_000

    def skip(self, ranges: Iterable[Sequence[int]]) -> None:
        """Take in which numbers, [first, last], will not come because the device thinned them out."""
        for first, last in ranges:
            # Numbers past the highest seen are noted too: a live message may overtake these.
            if last > self.highest:
                self.thinned.append((max(first, self.highest + 1), last))
                del self.thinned[: -self.limit]
            if self.missing:
                self.missing = {n for n in self.missing if not first <= n <= last}

    def note(self, seq: int) -> bool:
        """Take one sequence number in; return whether it is new."""
        if self.highest == 0:
            self.highest = seq
            return True
        if seq > self.highest:
            self.missing.update(range(max(self.highest + 1, seq - self.limit), seq))
            for first, last in self.thinned:
                self.missing.difference_update(range(max(first, self.highest + 1), min(last + 1, seq)))
            self.thinned = [(first, last) for first, last in self.thinned if last > seq]
            self.highest = seq
            excess = len(self.missing) - self.limit
            if excess > 0:
                self.missing = set(sorted(self.missing)[excess:])
                self.lost += excess
            return True
        if seq in self.missing:
            self.missing.remove(seq)
            return True
        self.duplicates += 1
        return False


@dataclass(slots=True)
class Device:
    """One device as it is known here. Times are Unix seconds."""

    name: str
    fleet: str = ""
    birth: dict[str, Any] = field(default_factory=dict)
    reported: dict[str, Any] = field(default_factory=dict)
    populations: dict[str, dict[str, Any]] = field(default_factory=dict)
    rss: int | None = None
    seen: float = 0.0
    outbox: str = ""
    messages: int = 0
    gaps: Gaps = field(default_factory=Gaps)

    @property
    def online(self) -> bool:
        """Whether its last birth message says so."""
        return bool(self.birth.get("online", False))

    def total(self, counter: str) -> int:
        """Return one counter summed over populations."""
        return sum(int(population.get(counter, 0)) for population in self.populations.values())

    def row(self) -> dict[str, Any]:
        """Return what the table shows, as one flat record.

        ``rss`` is the newest figure that is known, of the telemetry or of the birth; None before the first.
        """
        sizes = [p.get("size", 0) for p in self.birth.get("populations", {}).values()]
        return {
            "device": self.name,
            "online": self.online,
            "version": self.birth.get("version", ""),
            "profile": self.birth.get("profile", ""),
            "populations": sorted(self.birth.get("populations", {})),
            "agents": sum(sizes),
            "tick": max((int(p.get("tick", 0)) for p in self.populations.values()), default=0),
            "decisions": self.total("decisions"),
            "contradictions": self.total("contradictions"),
            "missed": self.total("missed"),
            "rss": self.birth.get("rss") if self.rss is None else self.rss,
            "desired_version": self.reported.get("version", 0),
            "lost_state": self.birth.get("lost_state", []),
            "rollouts": self.reported.get("rollouts", {}),
            "refused": self.reported.get("refused", {}),
            "gaps": len(self.gaps.missing) + self.gaps.lost,
            "duplicates": self.gaps.duplicates,
            "seen": self.seen,
        }


class Fleet:
    """All devices of the fleets that were listened to; ``dropped`` counts messages nobody had time for."""

    def __init__(self) -> None:
        self.devices: dict[str, Device] = {}
        self.rejected = Rejected()
        self.dropped = 0

    def handle(self, topic: str, payload: bytes, now: float) -> Device | None:
        """Take one message in; return the device it is about, None if it was rejected or not about one."""
        device = None
        with self.rejected.around(topic, payload):
            device = self._handle(topic, payload)
        if device is not None:
            device.seen = now
            device.messages += 1
            self.devices[device.name] = device
        return device

    def _handle(self, topic: str, payload: bytes) -> Device | None:
        if not payload:
            return None  # a retained message was cleared
        address = topics.parse(topic)
        if address.channel == "up/state":
            return None  # for Home Assistant, and not in our envelope
        message = messages.decode(payload)
        known = self.devices.get(address.device, Device(address.device, address.fleet))
        match address.channel:
            case "up/birth":
                bodies.check(bodies.BIRTH, message.body, topic)
                known.birth = message.body
            case "up/reported":
                bodies.check(bodies.REPORTED, message.body, topic)
                known.reported = message.body
            case "up/telemetry":
                bodies.check(bodies.TELEMETRY, message.body, topic)
                self._telemetry(known, message)
            case _:
                return None
        return known

    def _telemetry(self, device: Device, message: messages.Message) -> None:
        body = message.body
        populations = body.get("populations", {})
        outbox = body.get("outbox", "")
        if outbox:  # without one, numbers are not of telemetry alone
            if outbox != device.outbox:
                device.outbox, device.gaps = outbox, Gaps()
            device.gaps.skip(body.get("skipped", ()))
            device.gaps.note(message.seq)
        if body.get("historical", False):
            return
        if body.get("delta", False):
            for name, counters in populations.items():
                device.populations[name] = device.populations.get(name, {}) | counters
        elif "populations" in body:
            device.populations = populations
        device.rss = body.get("rss", device.rss)
