"""Status of a device's peers: coalition, roster, counters, in plain types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edge_agent.protocol.peers.objectives import Coalition
from edge_agent.protocol.peers.peer import Peer
from edge_agent.runtime.peers.loans import PopulationLoans
from edge_agent.runtime.peers.shared_factors import SharedFactors

MAX_ROWS = 256


@dataclass(slots=True)
class CoalitionCounters:
    """What happened since the start; ``agreed_s`` is how long the last agreement took."""

    joined: int = 0
    left: int = 0
    agreed_s: float = 0.0


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """Answers questions about the device among its peers."""

    peer: Peer
    shared: SharedFactors
    loans: PopulationLoans | None
    counters: CoalitionCounters

    @property
    def members(self) -> list[str]:
        """The devices of the confirmed coalition that this one is in."""
        confirmed = self.peer.confirmed
        return [] if confirmed is None else [name for _, name in confirmed.members]

    def figures(self) -> dict[str, int | float]:
        """Return the counters for telemetry."""
        counts = self.peer.conduct.counts
        counters = self.shared.sharing.counters
        return {
            "here": len(self.peer.members),
            "coalitions": len(self.peer.formation.coalitions),
            "members": len(self.members),
            "joined": self.counters.joined,
            "left": self.counters.left,
            "agreed_s": round(self.counters.agreed_s, 3),
            "refused": sum(sum(kinds.values()) for kinds in counts.values()),
            "sent": counters.sent,
            "resent": counters.resent + counters.returned,
            "received": counters.received,
            "duplicates": counters.known,
            "lost": self.shared.sharing.lost(),
            "reputation": self.peer.members.reputations[self.peer.topics.device],
        }

    def status(self) -> dict[str, Any]:
        """Return coalition, roster and counters, in plain types."""
        peer = self.peer
        counts = peer.conduct.counts
        seen = {name for name in peer.members.roster if name in peer.members} | counts.keys()
        return {
            **self.figures(),
            "plan": peer.formation.plan.hex(),
            "coalition": None if peer.coalition is None else self._shown(peer.coalition),
            "roster": {
                name: {"here": name in peer.members, "reputation": peer.members.reputations[name]}
                for name in sorted(seen)[:MAX_ROWS]
            },
            "refusals": {
                name: {offence.name.lower(): count for offence, count in kinds.items()}
                for name, kinds in list(counts.items())[:MAX_ROWS]
            },
            "sharing": self.shared.status(),
            "lending": None if self.loans is None else self.loans.status(),
        }

    def _shown(self, coalition: Coalition) -> dict[str, Any]:
        return {
            "objective": coalition.objective,
            "members": {name: role for role, name in coalition.members},
            "role": coalition.role_of(self.peer.topics.device),
            "confirmed": self.peer.confirmed == coalition,
        }
