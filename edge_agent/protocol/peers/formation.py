"""Coalition formation for any number of agents: a pure function of candidates and objectives.

Theory of operation. The cells of `proximity` form a tree. A cell with more than `cells.LEAF` candidates is
split into its sub-cells. From the leaves up, each cell fills the objectives that start in it or came up
unfilled, from the candidates that stand in it or were left over beneath (`assignment.assign`), and hands on
the rest: the best `cells.SPARE` left over of each capability, and the objectives that reach beyond the
cell. So near is served first, a cell's problem has bounded size, and all of it is O(n log n): the sorting.

What a cell hands up depends on nothing but what is in it. So after a change only the cells above the change
are done anew, up to the first that hands up what it handed up before, and the result is what forming from
nothing would give, for any order of changes.

Bounds, by design: an objective sees of far cells only the best `cells.SPARE` left over of each capability;
one that spans cells takes what those beneath left. `benchmarks.coalition` prints what that costs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from edge_agent.protocol.peers.cells import Cell, CellTree
from edge_agent.protocol.peers.objectives import Candidate, Coalition, Objective

DIGEST_BYTES = 8
_MODULUS = 2 ** (8 * DIGEST_BYTES)


def digest(coalition: Coalition) -> bytes:
    """Return what names a coalition: objective, version and who does what; not its value."""
    text = "\0".join(
        [
            coalition.objective,
            str(coalition.version),
            *(f"{role}\1{name}" for role, name in coalition.members),
        ]
    )
    return hashlib.blake2b(text.encode(), digest_size=DIGEST_BYTES).digest()


class Formation:
    """The coalitions of a fleet, kept up to date change by change.

    Call `put`, `drop`, `put_objective` and `drop_objective` for what changed, then `settle`.
    """

    def __init__(self) -> None:
        self._tree = CellTree(self._withdraw)
        self._coalitions: dict[str, Coalition] = {}
        self._membership: dict[str, str] = {}
        self._before: dict[str, Coalition | None] = {}
        self._sum = 0

    @property
    def coalitions(self) -> Mapping[str, Coalition]:
        """The coalitions by objective's name, as of the last `settle`."""
        return self._coalitions

    @property
    def candidates(self) -> Mapping[str, Candidate]:
        """The candidates by name."""
        return self._tree.agents

    @property
    def objectives(self) -> Mapping[str, Objective]:
        """The objectives by name."""
        return self._tree.objectives

    @property
    def plan(self) -> bytes:
        """Digest of all coalitions, whatever their order."""
        return self._sum.to_bytes(DIGEST_BYTES, "big")

    def coalition_of(self, name: str) -> Coalition | None:
        """Return the coalition that an agent is a member of."""
        objective = self._membership.get(name)
        return None if objective is None else self._coalitions[objective]

    def put(self, candidate: Candidate) -> None:
        """Add a candidate, or replace the one of that name."""
        self._tree.put(candidate)

    def drop(self, name: str) -> None:
        """Remove a candidate, if it is there."""
        self._tree.drop(name)

    def put_objective(self, objective: Objective) -> None:
        """Add an objective, or replace the one of that name."""
        self._tree.put_objective(objective)

    def drop_objective(self, name: str) -> None:
        """Remove an objective, if it is there; its coalition ends."""
        self._tree.drop_objective(name)

    def settle(self) -> set[str]:
        """Form what changed anew; return the names of the objectives whose coalition changed."""
        self._settle(self._tree.root)
        before, self._before = self._before, {}
        return {name for name, coalition in before.items() if self._coalitions.get(name) != coalition}

    def _settle(self, cell: Cell) -> bool:
        """Do a dirty cell anew if it or what comes up to it changed; return whether what it hands up did."""
        for child in cell.children.values():
            if child.dirty and self._settle(child):
                cell.stale = True
        cell.dirty = False
        if not cell.stale:
            return False
        cell.stale = False
        spare, unfilled, formed = cell.spare, cell.unfilled, cell.formed
        cell.solve()
        for coalition in formed:
            self._withdraw(coalition)
        for coalition in cell.formed:
            self._install(coalition)
        return spare != cell.spare or unfilled != cell.unfilled

    def _install(self, coalition: Coalition) -> None:
        known = self._coalitions.get(coalition.objective)
        if known is not None:
            self._withdraw(known)
        self._before.setdefault(coalition.objective, known)
        self._coalitions[coalition.objective] = coalition
        self._sum = (self._sum + int.from_bytes(digest(coalition), "big")) % _MODULUS
        for _, name in coalition.members:
            self._membership[name] = coalition.objective

    def _withdraw(self, coalition: Coalition) -> None:
        # An objective can have moved to a cell that was done earlier: then its new coalition stays.
        if self._coalitions.get(coalition.objective) is not coalition:
            return
        self._before.setdefault(coalition.objective, coalition)
        del self._coalitions[coalition.objective]
        self._sum = (self._sum - int.from_bytes(digest(coalition), "big")) % _MODULUS
        for _, name in coalition.members:
            if self._membership.get(name) == coalition.objective:
                del self._membership[name]
