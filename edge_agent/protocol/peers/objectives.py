"""Objectives, their roles, and the worth of a member in a role.

Theory of operation. All in integers, so that no two devices ever differ in the last digit. A filled role is
worth ``priority · weight · (1000 + quality)``: half of it for being covered at all, the other half by the
member's quality, 0 to 1000, made of nearness (4), reputation (3), capacity against demand (2) and battery
(1). Pairs of roles that are both filled add ``priority · synergy · 1000``. Unless every required role is
filled the coalition is worth nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from edge_agent.protocol.peers import proximity
from edge_agent.wire.presence import Position

SCALE = 1000


@dataclass(frozen=True, slots=True)
class Role:
    """A place in a coalition for one member.

    ``demand`` is the capacity it takes; ``weight`` is its share of the objective's worth; ``preferences`` is
    what is added to its holder's preferences C while the coalition lives, by modality name: log-preferences
    in nats, one an outcome.
    """

    name: str
    capability: str
    demand: int = 1
    weight: int = 1
    required: bool = True
    preferences: Mapping[str, Sequence[float]] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Objective:
    """A task that needs capabilities. ``synergy`` holds rows (role, role, weight)."""

    name: str
    roles: tuple[Role, ...]
    priority: int = 1
    position: Position = None
    reach: int = proximity.ANYWHERE
    synergy: tuple[tuple[str, str, int], ...] = ()
    version: int = 0

    @property
    def rank(self) -> tuple[int, str]:
        """Sorts objectives: the most urgent first, then by name."""
        return (-self.priority, self.name)

    @property
    def cover(self) -> int:
        """Depth of the smallest cell that holds everything within reach; see `proximity.cover`."""
        return proximity.cover(self.position, self.reach)


@dataclass(frozen=True, slots=True)
class Candidate:
    """What formation knows of one agent: the part of a roster entry that coalitions depend on."""

    name: str
    capabilities: tuple[str, ...]
    position: Position = None
    capacity: int = 1
    battery: int = 100
    reputation: int = SCALE

    @property
    def rank(self) -> tuple[int, int, str]:
        """Sorts candidates: the best first, specialists before those that can do more, then by name."""
        worth = 3 * self.reputation + 10 * self.battery + 2 * min(self.capacity, SCALE)
        return (-worth, len(self.capabilities), self.name)


@dataclass(frozen=True, slots=True)
class Coalition:
    """Who does what for an objective. ``members`` holds (role, name) in the objective's order of roles."""

    objective: str
    version: int
    members: tuple[tuple[str, str], ...]
    value: int

    def role_of(self, name: str) -> str | None:
        """Return the role of ``name``, None if it is no member."""
        return next((role for role, member in self.members if member == name), None)


def quality(role: Role, candidate: Candidate, near: int) -> int:
    """Return how good a candidate is in a role, 0 to 1000; ``near`` comes from `proximity.nearness`."""
    fit = SCALE if candidate.capacity >= role.demand else SCALE * candidate.capacity // role.demand
    return (4 * near + 3 * candidate.reputation + 2 * fit + 10 * candidate.battery) // 10


def worth(objective: Objective, role: Role, candidate: Candidate) -> int:
    """Return what ``candidate`` adds in ``role``; -1 if it can't fill it."""
    if role.capability not in candidate.capabilities:
        return -1
    near = proximity.nearness(objective.position, objective.reach, candidate.position)
    if near < 0:
        return -1
    return objective.priority * role.weight * (SCALE + quality(role, candidate, near))


def synergy(objective: Objective, filled: Iterable[str]) -> int:
    """Return what the filled roles add by being filled together."""
    present = set(filled)
    pairs = sum(weight for one, other, weight in objective.synergy if one in present and other in present)
    return objective.priority * pairs * SCALE
