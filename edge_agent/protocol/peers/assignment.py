"""Assigns candidates to the roles of objectives: coalition formation within one cell.

Theory of operation. Deterministic local search on integers. Two greedy solutions (objectives by priority, and
by worth per role) are each improved until no step improves them, and the better one is used:

1. an empty role takes a free candidate, or others move along until a free one fits;
2. two members, or a member and a free candidate, change places where that adds worth;
3. an objective that got nothing is tried against each that got something: the loser's members are
   released, both are filled anew, and the trial stays if the sum is greater.

Each step adds worth, so it ends; `_ROUNDS` bounds it all the same. An objective whose required roles can't
all be filled holds no one. For cells of up to some 40 candidates; `formation` sees to that.
"""

from __future__ import annotations

from collections.abc import Sequence

from edge_agent.protocol.peers.objectives import Candidate, Coalition, Objective, synergy, worth

_ROUNDS = 4
_TRIALS = 12
_FREE = -1


def assign(candidates: Sequence[Candidate], objectives: Sequence[Objective]) -> list[Coalition]:
    """Return the coalitions formed, in the order of ``objectives``.

    Parameters
    ----------
    candidates : sequence of Candidate
        Each may fill at most one role. Sort them by rank: among equals the first wins.
    objectives : sequence of Objective
        In order of rank.
    """
    if not candidates or not objectives:
        return []
    problem = _Problem(candidates, objectives)
    by_rank = list(range(len(objectives)))
    best = problem.improve(problem.greedy(by_rank))
    by_worth = sorted(by_rank, key=lambda o: (-problem.potential(o), o))
    if by_worth != by_rank:
        other = problem.improve(problem.greedy(by_worth))
        if problem.value(other) > problem.value(best):
            best = other
    return problem.coalitions(best)


class _Problem:
    """The worth of each candidate in each slot. A state is a list: who fills slot s, or `_FREE`."""

    def __init__(self, candidates: Sequence[Candidate], objectives: Sequence[Objective]) -> None:
        self.candidates = candidates
        self.objectives = objectives
        self.worths: list[list[int]] = []
        self.able: list[list[int]] = []  # candidates that can fill the slot, the best first
        self.slots: list[range] = []  # of each objective
        self.owner: list[int] = []  # of each slot
        self.required: list[bool] = []
        for number, objective in enumerate(objectives):
            first = len(self.worths)
            rows: dict[tuple[str, int, int], tuple[list[int], list[int]]] = {}
            for role in objective.roles:
                key = (role.capability, role.demand, role.weight)
                if key not in rows:
                    row = [worth(objective, role, candidate) for candidate in candidates]
                    able = sorted((c for c, w in enumerate(row) if w >= 0), key=lambda c: -row[c])
                    rows[key] = (row, able)
                row, able = rows[key]
                self.worths.append(row)
                self.able.append(able)
                self.owner.append(number)
                self.required.append(role.required)
            self.slots.append(range(first, len(self.worths)))

    def potential(self, number: int) -> int:
        """Return the most an objective could be worth a role."""
        slots = self.slots[number]
        total = sum(self.worths[s][self.able[s][0]] for s in slots if self.able[s])
        return total // max(1, len(slots))

    def filled(self, state: list[int], number: int) -> bool:
        return any(state[s] != _FREE for s in self.slots[number])

    def worth_of(self, state: list[int], number: int) -> int:
        objective, slots = self.objectives[number], self.slots[number]
        held = [s for s in slots if state[s] != _FREE]
        if not held:
            return 0
        total = sum(self.worths[s][state[s]] for s in held)
        if objective.synergy:
            total += synergy(objective, [objective.roles[s - slots.start].name for s in held])
        return total

    def value(self, state: list[int]) -> int:
        return sum(self.worth_of(state, number) for number in range(len(self.objectives)))

    def greedy(self, order: Sequence[int]) -> list[int]:
        state = [_FREE] * len(self.worths)
        free = set(range(len(self.candidates)))
        for number in order:
            self.fill(state, free, number)
        return state

    def fill(self, state: list[int], free: set[int], number: int) -> bool:
        """Fill an empty objective if all its required roles can be; else leave all as it was."""
        state_before, free_before = list(state), set(free)
        slots = sorted(self.slots[number], key=lambda s: (not self.required[s], len(self.able[s]), s))
        for slot in slots:
            if not self.fill_slot(state, free, slot) and self.required[slot]:
                state[:] = state_before
                free.clear()
                free.update(free_before)
                return False
        return True

    def fill_slot(self, state: list[int], free: set[int], slot: int) -> bool:
        """Fill a slot with a free candidate, or by moving others until a free one fits (Kuhn, 1955)."""
        if not free:
            return False
        # Breadth first: the shortest chain of moves. came[slot]: who leaves it, and for which slot.
        came: dict[int, tuple[int, int]] = {}
        at: dict[int, int] | None = None
        queue = [slot]
        for current in queue:
            for candidate in self.able[current]:
                if candidate in free:
                    free.discard(candidate)
                    while current != slot:
                        nearer, holder = came[current]
                        state[current] = candidate
                        current, candidate = nearer, holder
                    state[slot] = candidate
                    return True
            if at is None:
                at = {held: s for s, held in enumerate(state) if held != _FREE}
            for candidate in self.able[current]:
                other = at[candidate]
                if other != slot and other not in came:
                    came[other] = (current, candidate)
                    queue.append(other)
        return False

    def improve(self, state: list[int]) -> list[int]:
        for _ in range(_ROUNDS):
            before = list(state)
            free = set(range(len(self.candidates))) - set(state)
            self.complete(state, free)
            self.exchange(state, free)
            state = self.displace(state)
            if state == before:
                break
        return state

    def complete(self, state: list[int], free: set[int]) -> None:
        """Fill empty optional roles, and objectives that can be filled after all."""
        for number, slots in enumerate(self.slots):
            if not self.filled(state, number):
                if free:
                    self.fill(state, free, number)
                continue
            for slot in slots:
                if state[slot] == _FREE:
                    self.fill_slot(state, free, slot)

    def exchange(self, state: list[int], free: set[int]) -> None:
        """Swap holders of two roles, or a holder and a free candidate, where it adds worth."""
        held = [s for s, c in enumerate(state) if c != _FREE]
        for index, slot in enumerate(held):
            mine = self.worths[slot]
            for candidate in self.able[slot]:  # the best first: the first free one is the best free one
                if mine[candidate] <= mine[state[slot]]:
                    break
                if candidate in free:
                    free.add(state[slot])
                    free.discard(candidate)
                    state[slot] = candidate
                    break
            for other in held[index + 1 :]:
                theirs = self.worths[other]
                a, b = state[slot], state[other]
                if (mine[b] >= 0 and theirs[a] >= 0) and mine[b] + theirs[a] > mine[a] + theirs[b]:
                    state[slot], state[other] = b, a

    def displace(self, state: list[int]) -> list[int]:
        """Try each objective that got nothing in the place of one that got something."""
        numbers = range(len(self.objectives))
        empty = [n for n in numbers if not self.filled(state, n) and self.potential(n) > 0]
        if not empty:
            return state
        trials, value = _TRIALS, self.value(state)
        for wanting in empty:
            if self.filled(state, wanting):  # by an earlier trial
                continue
            holders = sorted(
                (n for n in numbers if self.filled(state, n)), key=lambda n: self.worth_of(state, n)
            )
            for loser in holders:
                if trials == 0:
                    return state
                trials -= 1
                trial = list(state)
                for slot in self.slots[loser]:
                    trial[slot] = _FREE
                free = set(range(len(self.candidates))) - set(trial)
                if not self.fill(trial, free, wanting):
                    continue
                self.fill(trial, free, loser)
                self.complete(trial, free)
                self.exchange(trial, free)
                reached = self.value(trial)
                if reached > value:
                    state, value = trial, reached
                    break
        return state

    def coalitions(self, state: list[int]) -> list[Coalition]:
        found = []
        for number, objective in enumerate(self.objectives):
            slots = self.slots[number]
            members = tuple(
                (objective.roles[s - slots.start].name, self.candidates[state[s]].name)
                for s in slots
                if state[s] != _FREE
            )
            if members:
                value = self.worth_of(state, number)
                found.append(Coalition(objective.name, objective.version, members, value))
        return found
