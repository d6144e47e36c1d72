"""Which figures of this tree are worse than those of the last release.

Theory of operation. Figures of two runs are compared if they have a direction (`Figure.better`) and do not
depend on the machine's speed: ratios to a baseline of the same run, and sizes of figures without a ratio.
The change is the deterioration as a share of the previous value. A figure is a regression if it exceeds
`TOLERANCE` and the spread of the release's own runs. An apparent regression is measured `REPEATS` more times
in fresh processes, and the median of all runs decides, so that noise of other processes is not reported.

A ratio is not the same on all processors, though. What still seems worse is measured with the release, too,
on this machine, in turn with this tree; then values are compared, times as well.
"""

from __future__ import annotations

import math
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from benchmarks import cases
from benchmarks.figures import LESS, Figure

TOLERANCE = 0.10
REPEATS = 4
SIZES = frozenset({"B", "bytes", "MB", "MiB"})
TIMES = frozenset({"us", "ms", "s"})
ACCEPTED = {("step", "s2_grid10_T1", "model_bytes"): 0.68}
"""What this tree is known to be worse in than the release, and why: a model keeps the product of A and B,
5 kB, from which its last step is planned.
"""
BESIDE = "the release on this machine"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One figure, then and now; ``change`` is how much worse it is, as a share; negative: better."""

    benchmark: str
    case: str
    figure: str
    baseline: str | None
    before: float
    now: float | None
    change: float
    allowed: float

    @property
    def key(self) -> tuple[str, str, str | None]:
        """What tells it from the other verdicts of its benchmark."""
        return self.case, self.figure, self.baseline

    @property
    def holds(self) -> bool:
        """Whether it is no regression."""
        return self.now is not None and self.change <= self.allowed

    @property
    def line(self) -> str:
        """The verdict for people."""
        what = f"{self.benchmark}: {self.case}, {self.figure}" + (
            f" compared with {self.baseline}" if self.baseline else ""
        )
        if self.now is None:
            return f"{what}: {self.before:g} in the release, not measured now"
        return (
            f"{what}: {self.before:g} in the release, {self.now:g} now, "
            f"{abs(self.change):.1%} {'worse' if self.change > 0 else 'better'} ({self.allowed:.0%} allowed)"
        )


def gated(figure: Figure) -> bool:
    """Whether a figure can be compared with another run's."""
    return figure.better is not None and (figure.ratio is not None or figure.unit in SIZES)


def worse(before: float, now: float, better: str) -> float:
    """Return how much worse ``now`` is than ``before``, as a share of it; negative: better."""
    if before == 0:
        return math.copysign(math.inf, now if better == LESS else -now) if now else 0.0
    change = (now - before) / abs(before)
    return change if better == LESS else -change


def allowed(before: Figure) -> float:
    """Return the change that is no regression: the tolerance, or the release's own spread."""
    if before.low is None or before.high is None or before.better is None:
        return TOLERANCE
    extreme = before.high if before.better == LESS else before.low
    return max(TOLERANCE, worse(before.compared, extreme, before.better))


def by_value(figures: Iterable[Figure]) -> list[Figure]:
    """Return those of the figures that have a direction, to be compared by value on one machine."""
    return [
        replace(figure, ratio=figure.value, better=LESS if figure.unit in TIMES else figure.better)
        for figure in figures
        if figure.better is not None
    ]


def verdicts(benchmark: str, before: Iterable[Figure], now: Iterable[Figure]) -> list[Verdict]:
    """Compare figures of one benchmark; one that the release had and that is gone is a verdict too."""
    found = {figure.key: figure for figure in now}
    out = []
    for old in before:
        if not gated(old) or old.better is None:
            continue
        new = found.get(old.key)
        value = None if new is None else new.compared
        change = math.inf if value is None else worse(old.compared, value, old.better)
        accepted = ACCEPTED.get((benchmark, old.case, old.figure), 0.0)
        out.append(Verdict(benchmark, *old.key, old.compared, value, change, max(allowed(old), accepted)))
    return out


def settled(
    benchmark: str,
    before: Iterable[Figure],
    measure: Callable[[int | None], list[Figure]],
    measure_release: Callable[[], list[Figure]],
) -> list[Verdict]:
    """Compare the figures of one case.

    ``measure(runs)`` measures it, again where something seems worse, and in turn with ``measure_release()``
    where it still does.
    """
    before, now = list(before), measure(None)
    found = verdicts(benchmark, before, now)
    if all(verdict.holds for verdict in found):
        return found
    found = verdicts(benchmark, before, cases.middle([now, *(measure(1) for _ in range(REPEATS))]))
    if all(verdict.holds for verdict in found):
        return found
    try:
        pairs = [(by_value(measure_release()), by_value(measure(1))) for _ in range(REPEATS)]
    except subprocess.CalledProcessError:  # the release has no such case, or it does not run here
        return found
    beside = verdicts(benchmark, *(cases.middle(runs) for runs in zip(*pairs, strict=True)))
    known = {verdict.key: replace(verdict, baseline=BESIDE) for verdict in beside}
    return [verdict if verdict.holds else known.get(verdict.key, verdict) for verdict in found]
