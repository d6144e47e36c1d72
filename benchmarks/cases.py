"""Runs benchmark cases in fresh processes, without warm caches or memory of the previous case.

A benchmark with several cases calls `run` with its name and one function per case; ``--case`` on the command
line selects the case in the fresh process. With ``--runs`` a case runs in that many fresh processes, and the
median run of each figure counts, with its value, ratio and verdict. The extremes are stored, too.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from benchmarks.figures import Figure, arguments, show
from edge_agent.errors import EdgeAgentError


def run(
    module: str,
    description: str | None,
    cases: Mapping[str, Callable[..., Iterable[Figure]]],
    seconds: float | None = None,
    runs: int = 1,
) -> int:
    """Run the cases, or the one that is named in this process; return the exit code.

    With ``seconds`` (the default length of a case) each case is called with the length that was asked for.
    """
    parser = arguments(description)
    parser.add_argument("--case", choices=sorted(cases), help="one case, in this process")
    parser.add_argument("--runs", type=int, default=runs, help=f"fresh processes per case; default: {runs}")
    if seconds is not None:
        parser.add_argument("--seconds", type=float, default=seconds, help="length of each case")
    options = parser.parse_args()
    length = () if seconds is None else (options.seconds,)
    if options.case:
        try:
            show(cases[options.case](*length), options.json)
        except EdgeAgentError as error:
            print(f"{module} {options.case}: {error}", file=sys.stderr)
            return 1
        return 0
    extra = () if seconds is None else ("--seconds", f"{options.seconds:g}")
    for case in cases:
        try:
            show(middle([fresh(module, case, extra) for _ in range(options.runs)]), options.json)
        except subprocess.CalledProcessError as error:
            print(f"{module} {case}: {why(error)}", file=sys.stderr)
            return 1
    return 0


class Build(NamedTuple):
    """An interpreter that finds a build of edge-agent, and the folder of its benchmarks; None: this one."""

    python: Path
    folder: Path | None = None


HERE = Build(Path(sys.executable))


def fresh(module: str, case: str, extra: Iterable[str] = (), build: Build = HERE) -> list[Figure]:
    """Return the figures of one case from a process of its own.

    Raises
    ------
    subprocess.CalledProcessError
        It failed; its ``stderr`` says why. What libraries say besides is nobody's concern.
    """
    command: list[str | Path] = [build.python, "-m", module, "--json", "--case", case, *extra]
    done = subprocess.run(command, cwd=build.folder, check=True, capture_output=True, text=True)
    return [Figure(**json.loads(line)) for line in done.stdout.splitlines()]


def why(error: subprocess.CalledProcessError) -> str:
    """Return the last line that a failed case said."""
    said = (error.stderr or "").strip().splitlines()
    return said[-1] if said else f"ended with {error.returncode}"


def middle(runs: Iterable[Iterable[Figure]]) -> list[Figure]:
    """Return each figure from the run in the middle (the lower of two), with its extremes over all runs."""
    found: dict[tuple[str, str, str | None], list[Figure]] = {}
    for figures in runs:
        for figure in figures:
            found.setdefault(figure.key, []).append(figure)
    out = []
    for same in found.values():
        same.sort(key=lambda figure: figure.compared)
        chosen = same[(len(same) - 1) // 2]
        if len(same) > 1:
            chosen = replace(chosen, runs=len(same), low=same[0].compared, high=same[-1].compared)
        out.append(chosen)
    return out


def seconds(action: Callable[[], object], rounds: int = 3) -> float:
    """Return the least time that ``action`` took: what it costs when nothing else is in the way."""
    best = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        action()
        best = min(best, time.perf_counter() - start)
    return best
