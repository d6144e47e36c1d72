"""Compares the results with those of the last release: ``make bench-check``.

`benchmarks.regression` says what is compared and when it is worse. The release's own figures are kept in
``results/baseline.json``; where one seems worse now, the release is built and measured here, too
(`benchmarks.release`).

Where a benchmark's method or the program of its baseline changes, the release is measured anew at its own
commit, and its figures take the place of the old ones: the agents' warm-up in ``scale``, the NumPy loop in
``step`` (``engine/reference.py``, which became faster), and the growth in ``memory``, which had one run.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from functools import partial
from itertools import groupby

from benchmarks import machine, report, results, suite
from benchmarks.figures import Figure
from benchmarks.regression import Verdict, gated, settled, verdicts
from benchmarks.release import release_build
from benchmarks.results import Baseline
from edge_agent.errors import PlatformError


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
            measure = partial(suite.measure, benchmark, case)
            measure_release = partial(_of_release, baseline, benchmark, case)
            try:
                yield from settled(benchmark, figures, measure, measure_release)
            except subprocess.CalledProcessError:
                yield from verdicts(benchmark, figures, [])


def _of_release(baseline: Baseline, benchmark: str, case: str) -> list[Figure]:
    return suite.measure(benchmark, case, 1, release_build(baseline.commit.rstrip("+")))


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
    try:
        for verdict in check(baseline, chosen):
            found.append(verdict)
            if options.json:
                print(json.dumps(asdict(verdict) | {"holds": verdict.holds}), flush=True)
            elif not verdict.holds:
                print(f"WORSE  {verdict.line}", flush=True)
    except PlatformError as error:
        print(f"benchmarks.compare: {error}", file=sys.stderr)
        return 2
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
