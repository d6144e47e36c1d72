"""Cases that run in a process of their own: no warm caches, no memory left over from the one before.

A benchmark of several cases calls `run` with its name and a function a case; the command line then has
``--case``, which is how the fresh process is told which one it is.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping

from benchmarks.figures import Figure, arguments, show


def run(module: str, description: str | None, cases: Mapping[str, Callable[[], Iterator[Figure]]]) -> int:
    """Run the cases, or the one that is named in this process; return the exit code."""
    parser = arguments(description)
    parser.add_argument("--case", choices=sorted(cases), help="one case, in this process")
    options = parser.parse_args()
    if options.case:
        show(cases[options.case](), options.json)
        return 0
    show((figure for case in cases for figure in _fresh(module, case)), options.json)
    return 0


def _fresh(module: str, case: str) -> Iterator[Figure]:
    command = [sys.executable, "-m", module, "--json", "--case", case]
    lines = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    for line in lines:
        yield Figure(**json.loads(line))


def seconds(action: Callable[[], object], rounds: int = 3) -> float:
    """Return the least time that ``action`` took: what it costs when nothing else is in the way."""
    best = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        action()
        best = min(best, time.perf_counter() - start)
    return best
