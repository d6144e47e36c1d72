"""Make a table of ``coverage json``, one row per package, with the reasons for the files with the lowest
coverage.

Usage: ``python -m benchmarks.coverage_table build/coverage/report.json``. The reasons are written by hand in
``coverage_reasons.toml`` in this folder.
"""

from __future__ import annotations

import json
import sys
import tomllib
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from benchmarks import report

COMMAND = "make coverage"
REASONS = Path(__file__).with_name("coverage_reasons.toml")
NOTED = 10
"""Files with so many statements and branches that did not run are named."""
SCOPE = (
    "Counted: what unit, golden, simulation, broker, hub, docs and corpus tests run, and the daemons, hubs "
    "and commands that they start.",
    "A process that a test ends by SIGKILL takes its traces along: what only such a one ran is not counted.",
    "The Makefile names the nine tests that are left out, because they would judge the tracer.",
)


def main(source: Path) -> None:
    """Print the table and store it for the report; say which reasons are missing and which can go."""
    files = {_short(name): content for name, content in json.loads(source.read_text())["files"].items()}
    packages: dict[str, list[dict[str, int]]] = defaultdict(list)
    for name, content in files.items():
        packages[_package(name)].append(content["summary"])
    rows = [_row(package, summaries) for package, summaries in sorted(packages.items())]
    rows.append(_row("all", [summary for summaries in packages.values() for summary in summaries]))
    for row in rows:
        print("{package:24} {statements:6} {branches:6} {not run:6} {percent:6.1f} %".format(**row))
    reasons: dict[str, str] = tomllib.loads(REASONS.read_text(encoding="utf-8"))
    noted = _noted(files)
    notes = [
        f"{name}: {lacking}: {reasons.get(name, 'nobody has looked')}" for name, lacking in noted.items()
    ]
    report.write_table("coverage", report.Table(COMMAND, report.today(), rows, [*SCOPE, *notes]))
    for name in sorted(reasons.keys() - noted.keys()):
        print(f"{REASONS.name}: {name}: fewer than {NOTED} are left: the reason can go", file=sys.stderr)
    for name in sorted(noted.keys() - reasons.keys()):
        print(f"{REASONS.name}: {name}: {noted[name]} did not run, expected a reason", file=sys.stderr)


def _package(name: str) -> str:
    return ".".join(PurePosixPath(name).parent.parts)


def _short(name: str) -> str:
    return name.removeprefix("tools/")


def _row(package: str, summaries: list[dict[str, int]]) -> dict[str, Any]:
    statements = sum(summary["num_statements"] for summary in summaries)
    branches = sum(summary["num_branches"] for summary in summaries)
    lacking = sum(map(_lacking, summaries))
    return {
        "package": package,
        "files": len(summaries),
        "statements": statements,
        "branches": branches,
        "not run": lacking,
        "percent": round(100.0 * (1 - lacking / max(statements + branches, 1)), 1),
    }


def _lacking(summary: Mapping[str, int]) -> int:
    return summary["missing_lines"] + summary["missing_branches"]


def _noted(files: Mapping[str, Any]) -> dict[str, str]:
    """Return by name what did not run of the files with most of it, those first."""
    summaries = {name: content["summary"] for name, content in files.items()}
    most = sorted(summaries, key=lambda name: (-_lacking(summaries[name]), name))
    return {
        name: f"{_lacking(summary)} of {summary['num_statements'] + summary['num_branches']}"
        for name in most
        if _lacking(summary := summaries[name]) >= NOTED
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
