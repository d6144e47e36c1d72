"""The tree of cells for coalition formation: crowded cells are split and sparse cells merged.

Theory of operation. The shape depends on what is in it alone, not on how it came there: a cell is split if
and only if it holds more than `LEAF` candidates, and exists if and only if it holds a candidate or an
objective. Paths are those of `proximity`, continued by tokens from the name's digest, so that a thousand
agents in one room, or with no place at all, still spread over cells. A cell is *stale* when its own problem
changed and *dirty* when it or one beneath is stale.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from edge_agent.protocol.peers.assignment import assign
from edge_agent.protocol.peers.objectives import Candidate, Coalition, Objective
from edge_agent.protocol.peers.proximity import Path, path, spread

LEAF = 32
SPARE = 16
_BATCH = 6
_DEEPEST = 64

Ranked = tuple[tuple[int, int, str], Candidate]


@dataclass(slots=True, eq=False)
class Cell:
    """A leaf holds candidates, a split cell its sub-cells; objectives rest in the deepest cell on their path.

    ``formed``, ``spare`` (by rank) and ``unfilled`` (by rank) are the outcome of the last `solve`.
    """

    depth: int
    parent: Cell | None
    count: int = 0
    split: bool = False
    stale: bool = True
    dirty: bool = True
    agents: dict[str, Candidate] = field(default_factory=dict)
    resting: dict[str, Objective] = field(default_factory=dict)
    children: dict[str | int, Cell] = field(default_factory=dict)
    formed: list[Coalition] = field(default_factory=list)
    spare: list[Ranked] = field(default_factory=list)
    unfilled: list[Objective] = field(default_factory=list)

    def solve(self) -> None:
        """Fill the cell's objectives from its candidates, and set out what it hands up."""
        spare = [(c.rank, c) for c in self.agents.values()]
        waiting = list(self.resting.values())
        for child in self.children.values():
            spare += child.spare
            waiting += child.unfilled
        spare.sort(key=_rank)
        self.formed = []
        # A lone sub-cell has tried all this before.
        if spare and waiting and (self.resting or len(self.children) != 1):
            waiting.sort(key=lambda objective: objective.rank)
            spare = self._fill(waiting, spare)
        filled = {coalition.objective for coalition in self.formed}
        self.unfilled = [o for o in waiting if o.name not in filled and o.cover < self.depth]
        self.spare = _best(spare) if self.split else spare

    def _fill(self, waiting: list[Objective], spare: list[Ranked]) -> list[Ranked]:
        for first in range(0, len(waiting), _BATCH):
            batch = waiting[first : first + _BATCH]
            capable = spare if len(spare) <= LEAF else _wanted(batch, spare)
            formed = assign([candidate for _, candidate in capable], batch)
            if formed:
                self.formed += formed
                taken = {name for coalition in formed for _, name in coalition.members}
                spare = [ranked for ranked in spare if ranked[1].name not in taken]
        return spare


class CellTree:
    """All cells of a fleet. ``withdraw`` is called with each coalition of a cell that goes away."""

    def __init__(self, withdraw: Callable[[Coalition], None]) -> None:
        self.root = Cell(0, None)
        self.agents: dict[str, Candidate] = {}
        self.objectives: dict[str, Objective] = {}
        self._withdraw = withdraw

    def put(self, candidate: Candidate) -> None:
        """Add a candidate, or replace the one of that name."""
        if self.agents.get(candidate.name) == candidate:
            return
        self.drop(candidate.name)
        self.agents[candidate.name] = candidate
        tokens, cell = _tokens(candidate), self.root
        cell.count += 1
        while cell.split:
            cell = _child(cell, tokens)
            cell.count += 1
        cell.agents[candidate.name] = candidate
        _mark(cell)
        _split_if_crowded(cell)

    def drop(self, name: str) -> None:
        """Remove a candidate, if it is there."""
        candidate = self.agents.pop(name, None)
        if candidate is None:
            return
        tokens, cell = _tokens(candidate), self.root
        sparse: Cell | None = None
        cell.count -= 1
        while cell.split:
            if sparse is None and cell.count <= LEAF:
                sparse = cell
            cell = _child(cell, tokens)
            cell.count -= 1
        del cell.agents[name]
        _mark(cell)
        if sparse is not None:
            self._merge(sparse)
        else:
            self._prune(cell)

    def put_objective(self, objective: Objective) -> None:
        """Add an objective, or replace the one of that name."""
        if self.objectives.get(objective.name) == objective:
            return
        self.drop_objective(objective.name)
        self.objectives[objective.name] = objective
        cell = _deepest(self.root, objective)
        cell.resting[objective.name] = objective
        _mark(cell)

    def drop_objective(self, name: str) -> None:
        """Remove an objective, if it is there."""
        objective = self.objectives.pop(name, None)
        if objective is None:
            return
        cell = _deepest(self.root, objective)
        del cell.resting[name]
        _mark(cell)
        self._prune(cell)

    def _merge(self, cell: Cell) -> None:
        below = list(cell.children.values())
        cell.children, cell.split = {}, False
        while below:
            gone = below.pop()
            below += gone.children.values()
            cell.agents |= gone.agents
            cell.resting |= gone.resting
            for coalition in gone.formed:
                self._withdraw(coalition)
        _mark(cell)

    def _prune(self, cell: Cell) -> None:
        while cell.parent is not None and cell.count == 0 and not cell.resting and not cell.children:
            for coalition in cell.formed:
                self._withdraw(coalition)
            parent = cell.parent
            parent.children = {token: child for token, child in parent.children.items() if child is not cell}
            _mark(parent)
            cell = parent


def _rank(ranked: Ranked) -> tuple[int, int, str]:
    return ranked[0]


def _best(spare: list[Ranked]) -> list[Ranked]:
    """Return the best `SPARE` of each capability; ``spare`` is in order of rank."""
    seen: dict[str, int] = {}
    kept = []
    for ranked in spare:
        wanted = False
        for capability in ranked[1].capabilities:
            count = seen.get(capability, 0)
            wanted |= count < SPARE
            seen[capability] = count + 1
        if wanted:
            kept.append(ranked)
    return kept


def _wanted(batch: list[Objective], spare: list[Ranked]) -> list[Ranked]:
    """Return those of ``spare`` that a batch has use for: twice as many as it has roles, and a few."""
    limits: dict[str, int] = {}
    for objective in batch:
        for role in objective.roles:
            limits[role.capability] = limits.get(role.capability, 4) + 2
    kept = []
    for ranked in spare:
        useful = False
        for capability in ranked[1].capabilities:
            if limits.get(capability, 0) > 0:
                limits[capability] -= 1
                useful = True
        if useful:
            kept.append(ranked)
    return kept


def _tokens(item: Candidate | Objective) -> Path:
    return path(item.position) + spread(item.name)


def _child(cell: Cell, tokens: Path) -> Cell:
    token = tokens[cell.depth] if cell.depth < len(tokens) else 0
    child = cell.children.get(token)
    if child is None:
        child = cell.children[token] = Cell(cell.depth + 1, cell)
    return child


def _deepest(cell: Cell, objective: Objective) -> Cell:
    tokens = _tokens(objective)
    while cell.split:
        cell = _child(cell, tokens)
    return cell


def _mark(cell: Cell) -> None:
    cell.stale = True
    above: Cell | None = cell
    while above is not None:
        above.dirty = True
        above = above.parent


def _split_if_crowded(cell: Cell) -> None:
    if cell.count <= LEAF or cell.depth >= _DEEPEST:
        return
    cell.split = True
    agents, cell.agents = cell.agents, {}
    resting, cell.resting = cell.resting, {}
    for candidate in agents.values():
        child = _child(cell, _tokens(candidate))
        child.count += 1
        child.agents[candidate.name] = candidate
    for objective in resting.values():
        _child(cell, _tokens(objective)).resting[objective.name] = objective
    for child in cell.children.values():
        _split_if_crowded(child)
