"""Every benchmark, one after the other: ``make bench``, or some of them with ``--only``.

Theory of operation. A benchmark is a list of cases; each case runs in fresh processes (`benchmarks.cases`),
so often and so long as `PLAN` says, which makes the whole fit into ten minutes. A benchmark's figures are
written to ``results/NAME.json`` as soon as it is through, with the machine and the commit they belong to. A
case that fails is named at the end and makes the exit code 1; the others' results are still there.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import cases, machine, results
from benchmarks.figures import Figure, show


@dataclass(frozen=True, slots=True)
class Plan:
    """How a benchmark runs.

    ``runs`` fresh processes a case, but one of each that is in ``once`` (no clock in it, or too long);
    ``seconds``: how long, where it asks for that; ``apart``: only when named.
    """

    runs: int = 3
    seconds: float | None = None
    once: tuple[str, ...] = ()
    apart: bool = False


PLAN = {
    "freeagentics": Plan(3),
    "step": Plan(3),
    "scale": Plan(3),
    "storage": Plan(1),
    "memory": Plan(1, 60.0),
    "startup": Plan(7),
    "daemon": Plan(1, 10.0),
    "latency": Plan(1, 4.0, apart=True),
    "link": Plan(3, once=("outbox", "replay", "bundle", "herd")),
    "coalition": Plan(3, once=("optimum", "agreement")),
    "fusion": Plan(3, once=("belief", "engine", "bytes", "terse")),
    "neural": Plan(3),
    "convert": Plan(1),
    "fidelity": Plan(1),
    "random_models": Plan(1, apart=True),
    "parity": Plan(1, apart=True),
    "peers": Plan(1, apart=True),
    "learning": Plan(1, apart=True),
    "hub": Plan(1, apart=True),
    "alerts": Plan(1, apart=True),
    "pages": Plan(1, apart=True),
}
Advance = Callable[[str, str], None]


def default() -> list[str]:
    """Return the benchmarks that run where none is named."""
    return [name for name, plan in PLAN.items() if not plan.apart]


def cases_of(benchmark: str) -> list[str]:
    """Return the names of a benchmark's cases."""
    return list(importlib.import_module(f"benchmarks.{benchmark}").CASES)


def measure(
    benchmark: str, case: str, runs: int | None = None, build: cases.Build = cases.HERE
) -> list[Figure]:
    """Run a case as planned, or ``runs`` times, with a build, and return its figures.

    Raises
    ------
    subprocess.CalledProcessError
        It failed.
    """
    plan = PLAN[benchmark]
    extra = () if plan.seconds is None else ("--seconds", f"{plan.seconds:g}")
    often = runs or (1 if case in plan.once else plan.runs)
    return cases.middle([cases.fresh(f"benchmarks.{benchmark}", case, extra, build) for _ in range(often)])


def run(benchmark: str, folder: Path, advance: Advance) -> results.Result:
    """Run one benchmark and write its results."""
    described, start, found = machine.describe(), time.monotonic(), {}
    for case in cases_of(benchmark):
        advance(benchmark, case)
        found[case] = tuple(measure(benchmark, case))
    result = results.Result(
        benchmark,
        f"python -m benchmarks.suite --only {benchmark}",
        datetime.now(UTC).isoformat(timespec="seconds"),
        machine.commit(),
        described,
        round(time.monotonic() - start, 1),
        found,
    )
    results.write(folder, result)
    return result


@contextmanager
def progress(total: int) -> Iterator[Advance]:
    """Show on standard error, where it is a terminal, which case runs; elsewhere a line a benchmark."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=total)
        last = [""]

        def advance(benchmark: str, case: str) -> None:
            if not console.is_terminal and benchmark != last[0]:
                console.print(f"{benchmark} ...")
            bar.update(task, description=f"{benchmark}: {case}", advance=1 if last[0] else 0)
            last[0] = benchmark

        yield advance


def main() -> int:
    """Run the benchmarks; 1 if a case failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=list(PLAN), metavar="NAME", help=", ".join(PLAN))
    parser.add_argument("--output", type=Path, default=results.FOLDER, help="where the results go")
    parser.add_argument("--json", action="store_true", help="print one JSON object a figure")
    options = parser.parse_args()
    chosen = options.only or default()
    failed = []
    start = time.monotonic()
    with progress(sum(len(cases_of(name)) for name in chosen)) as advance:
        for name in chosen:
            try:
                result = run(name, options.output, advance)
            except subprocess.CalledProcessError as error:
                failed.append(f"{name}: {' '.join(map(str, error.cmd[1:]))}: {cases.why(error)}")
                continue
            for figure in result.figures:
                if options.json:
                    print(json.dumps({"benchmark": name} | asdict(figure)), flush=True)
                else:
                    show([figure], False)
    print(f"{time.monotonic() - start:.0f} s", *failed, sep="\n", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
