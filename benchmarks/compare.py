"""Compares the results with those of the last release: ``make bench-check``.

Theory of operation. Figures of two runs are compared if they have a direction (`Figure.better`) and do not
depend on the machine's speed: ratios to a baseline of the same run, and sizes of figures without a ratio.
The change is the deterioration as a share of the previous value. A figure is a regression if it exceeds
`TOLERANCE` and the spread of the release's own runs. An apparent regression is measured `REPEATS` more times
in fresh processes, and the median of all runs decides, so that noise of other processes is not reported.

Where a benchmark's method or the program of its baseline changes, the release is measured anew at its own
commit, and its figures take the place of the old ones: the agents' warm-up in ``scale``, the NumPy loop in
``step`` (``engine/reference.py``, which became faster), and the growth in ``memory``, which had one run.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from itertools import groupby

from benchmarks import cases, machine, report, results, suite
from benchmarks.figures import LESS, Figure
from benchmarks.results import Baseline

TOLERANCE = 0.10
REPEATS = 4
SIZES = frozenset({"B", "bytes", "MB", "MiB"})


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
        out.append(Verdict(benchmark, *old.key, old.compared, value, change, allowed(old)))
    return out


def settled(
    benchmark: str, before: Iterable[Figure], measure: Callable[[int | None], list[Figure]]
) -> list[Verdict]:
    """Compare the figures of one case; ``measure(runs)`` measures it, again where something seems worse."""
    before, now = list(before), measure(None)
    found = verdicts(benchmark, before, now)
    if all(verdict.holds for verdict in found):
        return found
    return verdicts(benchmark, before, cases.middle([now, *(measure(1) for _ in range(REPEATS))]))


def check(baseline: Baseline, chosen: Iterable[str]) -> Iterator[Verdict]:
    """Measure what of the release can be compared, and yield the verdicts."""
    work = [
        (benchmark, case, figures)
        for benchmark in chosen
        for case, figures in baseline.benchmarks[benchmark].items()
        if any(gated(figure) for figure in figures)
    ]
    with suite.progress(len(work)) as advance:
        for benchmark, case, figures in work:
            advance(benchmark, case)
            try:
                yield from settled(benchmark, figures, partial(suite.measure, benchmark, case))
            except subprocess.CalledProcessError:
                yield from verdicts(benchmark, figures, [])


def table_rows(found: Iterable[Verdict]) -> list[dict[str, str | int]]:
    """Return a row a benchmark for the report, with the figure that changed for the worse most."""
    rows: list[dict[str, str | int]] = []
    for benchmark, own in groupby(found, key=lambda verdict: verdict.benchmark):
        judged = list(own)
        worst = max(judged, key=lambda verdict: (not verdict.holds, verdict.change))
        line = worst.line.removeprefix(f"{benchmark}: ")
        lost = sum(not verdict.holds for verdict in judged)
        rows.append({"benchmark": benchmark, "compared": len(judged), "worse": lost, "nearest to it": line})
    return rows


def keep(release: str) -> Baseline:
    """Make the present results the baseline; peers need an environment of their own and are left out."""
    found = [
        results.read(path) for name in suite.default() if (path := results.FOLDER / f"{name}.json").exists()
    ]
    baseline = Baseline(release, machine.commit(), found[0].machine, {it.benchmark: it.cases for it in found})
    results.write_baseline(results.BASELINE, baseline)
    return baseline


def main() -> int:
    """Print what is worse than in the release; 1 if anything is, 2 if there is no release to compare with."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=suite.default(), metavar="NAME")
    parser.add_argument("--keep", metavar="RELEASE", help="make benchmarks/results the baseline, and end")
    parser.add_argument("--report", action="store_true", help="keep the verdict for the report, and make it")
    parser.add_argument("--json", action="store_true", help="print one JSON object a figure")
    options = parser.parse_args()
    if options.keep:
        kept = keep(options.keep)
        print(f"{results.BASELINE}: release {kept.release}, {len(kept.benchmarks)} benchmarks")
        return 0
    if not results.BASELINE.exists():
        print(f"{results.BASELINE}: not there, expected the figures of a release", file=sys.stderr)
        return 2
    baseline = results.read_baseline(results.BASELINE)
    here = machine.describe()
    for key in ("processor", "isa", "cores"):
        if here[key] != baseline.machine.get(key):
            print(f"another {key}: {here[key]}, the release had {baseline.machine.get(key)}", file=sys.stderr)
    chosen = [name for name in options.only or suite.default() if name in baseline.benchmarks]
    found = []
    for verdict in check(baseline, chosen):
        found.append(verdict)
        if options.json:
            print(json.dumps(asdict(verdict) | {"holds": verdict.holds}), flush=True)
        elif not verdict.holds:
            print(f"WORSE  {verdict.line}", flush=True)
    lost = sum(not verdict.holds for verdict in found)
    if options.report:
        note = f"{len(found)} figures, {lost} worse. Release {baseline.release} is commit {baseline.commit}, "
        note += f"this is commit {machine.commit()}; load before it {here['load_before']}."
        only = f'ONLY="{" ".join(options.only)}" ' if options.only else ""
        gate = report.Table(f"make bench-check {only}KEEP=1", report.today(), table_rows(found), [note])
        report.write_table("gate", gate)
        report.generate()
    print(f"{len(found)} figures compared with release {baseline.release}: {lost} worse", file=sys.stderr)
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
