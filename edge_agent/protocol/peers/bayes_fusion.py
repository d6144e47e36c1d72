"""Bayesian fusion of one shared factor: the evidence of all devices and a filter over a window of ticks.

Theory of operation. Evidence is a set keyed by (device, agent, tick). The log-likelihood of a tick is the
integer sum over the set (`codes`), so a duplicate changes nothing and order doesn't matter. Beliefs are
kept for each tick of a window; evidence that comes late invalidates them from its tick on, and `belief`
re-runs the filter from the last valid one. What lies before the window is one belief, the *base*; evidence
older than that is lost, and counted, once for each key: when it comes too late, or when the window leaves a
tick behind whose evidence was announced (`expect`) and never came.

If one key arrives with two contents (only a faulty peer sends that), the greater bytes are used in any order
of arrival, so that receivers still agree.

A factor that an agent controls needs its actions too: those of the channel's ``controller``; others' are
ignored.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge_agent.protocol.peers import codes
from edge_agent.protocol.peers.codes import Floats
from edge_agent.wire.evidence import MAX_WINDOW, NO_ACTION, Base, Record

Source = tuple[str, int]
_JUMP = 4


class Filter(Protocol):
    """A Bayes filter over the states of one factor."""

    @property
    def states(self) -> int:
        """The number of states S."""

    def rerun(self, start: Floats, likelihoods: Floats, actions: NDArray[np.int64]) -> Floats:
        """Filter K ticks: for each, predict with the action before it, then weigh with its likelihood.

        Parameters
        ----------
        start : array (S,)
            Belief after the tick before the first.
        likelihoods : array (K, S)
            Of each tick, of any scale.
        actions : array (K,)
            ``actions[k]`` led from tick k - 1 to tick k; -1 is not known.

        Returns
        -------
        array (K, S)
            Beliefs after each tick.
        """


class Outcome(enum.Enum):
    """What became of a piece of evidence."""

    NEW = "new"
    KNOWN = "known"
    CONFLICT = "conflict"
    LOST = "lost"
    EARLY = "early"
    MISFIT = "misfit"


class BayesFusion:
    """The fused belief of one channel on one device.

    Parameters
    ----------
    model : Filter
        Runs the shared factor.
    prior : array (S,)
        Belief before the first tick: the filter predicts from it.
    tick : int
        The first tick; evidence counts from here on.
    window : int
        Ticks within which order, delay and loss that is repaired don't matter, at most 64.
    controller : (device, agent), optional
        Whose actions move the factor.
    sources : int
        (device, agent) pairs listened to at most.
    """

    def __init__(
        self,
        model: Filter,
        prior: Floats,
        tick: int,
        window: int = 32,
        controller: Source | None = None,
        sources: int = 64,
    ) -> None:
        if not 1 <= window <= MAX_WINDOW:
            raise ValueError(f"window: found {window}, expected 1 to {MAX_WINDOW}")
        self.model = model
        self.window = window
        self.controller = controller
        self.lost = 0
        self.present = tick - 1
        self._sources = sources
        self._base = tick - 1
        self._valid = tick - 1
        self._beliefs: dict[int, Floats] = {tick - 1: np.asarray(prior, np.float64)}
        self._evidence: dict[int, dict[Source, Record]] = {}
        self._base_action = NO_ACTION
        self._prior = self._beliefs[tick - 1]
        self._settled: dict[int, set[Source]] = {}
        self._given_up: dict[int, set[Source]] = {}
        self._expected: dict[int, set[Source]] = {}

    @property
    def base(self) -> tuple[int, Floats]:
        """The tick before the window, and the belief after it."""
        return self._base, self._beliefs[self._base]

    def advance(self, tick: int) -> bool:
        """Move the present on to ``tick``; what leaves the window becomes final.

        A clock that jumps so far that nothing of the window is left begins anew from the prior; return
        whether it did.
        """
        anew = not -self.window <= tick - self.present <= _JUMP * self.window
        if anew:
            self._restart(tick)
        if tick > self.present:
            self.present = tick
            base = tick - self.window
            if base > self._base:
                self._run(base)
                self._rebase(base)
        return anew

    def add(self, device: str, record: Record) -> Outcome:
        """Take a piece of evidence in."""
        if len(record.codes) != self.model.states:
            return Outcome.MISFIT
        if record.tick <= self._base:
            if (device, record.agent) in self._settled.get(record.tick, ()):
                return Outcome.KNOWN
            given_up = self._given_up.setdefault(record.tick, set())
            self.lost += (device, record.agent) not in given_up
            given_up.add((device, record.agent))
            return Outcome.LOST
        if record.tick > self.present + 1:
            return Outcome.EARLY
        at = self._evidence.setdefault(record.tick, {})
        source = (device, record.agent)
        known = at.get(source)
        if known is None and len(at) >= self._sources:
            return Outcome.MISFIT
        if known is not None and _content(known) >= _content(record):
            return Outcome.KNOWN if _content(known) == _content(record) else Outcome.CONFLICT
        at[source] = record
        self._valid = min(self._valid, record.tick - 1)
        return Outcome.NEW if known is None else Outcome.CONFLICT

    def expect(self, device: str, agent: int, ticks: Iterable[int]) -> None:
        """Note that a source has spoken in ``ticks``: what of it never comes is lost."""
        for tick in ticks:
            if self._base < tick <= self.present + 1:
                sources = self._expected.setdefault(tick, set())
                if len(sources) < self._sources:
                    sources.add((device, agent))

    def belief(self) -> Floats:
        """Return the belief after the present tick, shape (S,)."""
        self._run(self.present)
        return self._beliefs[self.present]

    def records(self, device: str, agent: int) -> Iterator[Record]:
        """Yield the evidence of one source within the window, the oldest first."""
        for tick in sorted(self._evidence):
            record = self._evidence[tick].get((device, agent))
            if record is not None:
                yield record

    def held(self, device: str, agent: int) -> int:
        """Return the ticks held of a source as bits: bit i stands for tick ``present - i``.

        Ticks before the window count as held: nothing is wanted from there any more.
        """
        ticks = (record.tick for record in self.records(device, agent))
        bits = sum(1 << self.present - tick for tick in ticks if tick <= self.present)
        return bits | (1 << MAX_WINDOW) - (1 << min(self.present - self._base, MAX_WINDOW))

    def sources(self) -> set[Source]:
        """Return who spoke within the window, as far as is known: heard, or announced."""
        at = (*self._evidence.values(), *self._expected.values())
        return {source for sources in at for source in sources}

    def snapshot(self, channel: int) -> Base:
        """Return a belief for a member that starts anew.

        It is the base, or once the window is full the one in its middle: the base will have moved on before
        the message arrives, and with it the evidence that should follow.
        """
        self._run(self.present)
        tick = max(self._base, self.present - self.window // 2)
        return Base(channel, tick, codes.encode(self._beliefs[tick]), self._action(tick))

    def adopt(self, base: Base) -> bool:
        """Begin from another member's base, if it reaches further back than ours; return whether it did."""
        if len(base.codes) != self.model.states or not self.present - self.window <= base.tick < self._base:
            return False
        self._base = self._valid = base.tick
        self._base_action = base.action
        self._beliefs = {base.tick: codes.belief(base.codes)}
        return True

    def _run(self, end: int) -> None:
        first = self._valid + 1
        if first > end:
            return
        count = end - self._valid
        sums = np.zeros((count, self.model.states), np.int64)
        for row in range(count):
            for record in self._evidence.get(first + row, {}).values():
                sums[row] += codes.logarithms(record.codes)
        actions = np.array([self._action(tick - 1) for tick in range(first, end + 1)], np.int64)
        beliefs = self.model.rerun(self._beliefs[self._valid], codes.likelihood(sums), actions)
        for row in range(count):
            self._beliefs[first + row] = beliefs[row]
        self._valid = end

    def _restart(self, tick: int) -> None:
        self.present = self._base = self._valid = tick - 1
        self._beliefs = {tick - 1: self._prior}
        self._base_action = NO_ACTION
        for past in (self._evidence, self._settled, self._given_up, self._expected):
            past.clear()

    def _action(self, tick: int) -> int:
        if tick == self._base:
            return self._base_action
        at = self._evidence.get(tick, {})
        record = None if self.controller is None else at.get(self.controller)
        return NO_ACTION if record is None else record.action

    def _rebase(self, base: int) -> None:
        self._base_action = self._action(base)
        self._base = base
        for tick in [tick for tick in self._expected if tick <= base]:
            missing = self._expected.pop(tick) - self._evidence.get(tick, {}).keys()
            self.lost += len(missing)
            self._given_up[tick] = missing
        for tick in [tick for tick in self._evidence if tick <= base]:
            self._settled[tick] = set(self._evidence.pop(tick))
        for past in (self._settled, self._given_up):
            for tick in [tick for tick in past if tick <= base - self.window]:
                del past[tick]
        for tick in [tick for tick in self._beliefs if tick < base]:
            del self._beliefs[tick]


def _content(record: Record) -> tuple[bytes, int]:
    return (record.codes, record.action)
