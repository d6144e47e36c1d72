"""What one can ask a device about its peers: coalition, roster, counters. Answers are plain types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edge_agent.protocol.peers.objectives import Coalition

if TYPE_CHECKING:
    from edge_agent.runtime.peers.coordinator import PeerCoordinator

MAX_ROWS = 256


def figures(peering: PeerCoordinator) -> dict[str, int | float]:
    """Return the counters for telemetry."""
    counts = peering.peer.conduct.counts
    counters = peering.fusing.sharing.counters
    return {
        "here": len(peering.peer.members),
        "coalitions": len(peering.peer.formation.coalitions),
        "members": len(peering.coalition),
        "joined": peering.counters.joined,
        "left": peering.counters.left,
        "agreed_s": round(peering.counters.agreed_s, 3),
        "refused": sum(sum(kinds.values()) for kinds in counts.values()),
        "sent": counters.sent,
        "resent": counters.resent + counters.returned,
        "received": counters.received,
        "duplicates": counters.known,
        "lost": peering.fusing.sharing.lost(),
        "reputation": peering.peer.members.reputations[peering.topics.device],
    }


def status(peering: PeerCoordinator) -> dict[str, Any]:
    """Return coalition, roster and counters, in plain types."""
    peer = peering.peer
    counts = peer.conduct.counts
    seen = {name for name in peer.members.roster if name in peer.members} | counts.keys()
    return {
        **figures(peering),
        "plan": peer.formation.plan.hex(),
        "coalition": None if peer.coalition is None else _shown(peering, peer.coalition),
        "roster": {
            name: {"here": name in peer.members, "reputation": peer.members.reputations[name]}
            for name in sorted(seen)[:MAX_ROWS]
        },
        "refusals": {
            name: {offence.name.lower(): count for offence, count in kinds.items()}
            for name, kinds in list(counts.items())[:MAX_ROWS]
        },
        "sharing": peering.fusing.status(),
        "lending": None if peering.lending is None else peering.lending.status(),
    }


def _shown(peering: PeerCoordinator, coalition: Coalition) -> dict[str, Any]:
    return {
        "objective": coalition.objective,
        "members": {name: role for role, name in coalition.members},
        "role": coalition.role_of(peering.topics.device),
        "confirmed": peering.peer.confirmed == coalition,
    }
