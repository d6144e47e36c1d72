"""Makes a table of ``coverage json``: a row a package, and the files with most lines that no unit test runs.

Usage: ``python tools/coverage_table.py build/coverage/report.json benchmarks/results/coverage.json``.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

COMMAND = "make coverage"
NOTED = 10
"""Files with so many statements that did not run are named."""
ELSEWHERE: Mapping[str, str] = {
    "edge_agent/adapters/": "sockets, threads, systemd: tests/broker runs it with a real Mosquitto",
    "edge_agent/commands/": "the daemon's process and its commands: tests/broker, tests/docs, tests/arm64",
    "edge_agent/testing/": "used by tests/sim, tests/broker and the benchmarks",
    "edge_agent/runtime/": "what is left wants a whole daemon: tests/sim and tests/broker",
    "edge_agent/protocol/": "refusals and rare turns; tests/sim and tests/broker run more of it",
    "edge_agent/": "refusals that no unit test provokes",
    "edge_hub/": "needs a broker: tests/broker/test_hub.py, test_rollout.py and test_uplink.py run it",
    "edge_convert/": "refusals of files of odd forms; make fuzz provokes them",
}
"""By the first that a path begins with: why unit tests do not run it, and what does."""


def main(source: Path, target: Path) -> None:
    """Print the table and write it."""
    files = json.loads(source.read_text())["files"]
    packages: dict[str, list[dict[str, int]]] = defaultdict(list)
    for name, content in files.items():
        packages[_package(name)].append(content["summary"])
    rows = [_row(package, summaries) for package, summaries in sorted(packages.items())]
    rows.append(_row("all", [summary for summaries in packages.values() for summary in summaries]))
    for row in rows:
        print("{package:24} {statements:6} {branches:6} {percent:6.1f} %".format(**row))
    document = {
        "command": COMMAND,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "rows": rows,
        "notes": _notes(files),
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(document, indent=1) + "\n")


def _package(name: str) -> str:
    folder = PurePosixPath(_short(name)).parent
    return ".".join(folder.parts)


def _short(name: str) -> str:
    return name.removeprefix("tools/")


def _row(package: str, summaries: list[dict[str, int]]) -> dict[str, Any]:
    keys = ("num_statements", "num_branches", "covered_lines", "covered_branches")
    total = {key: sum(summary[key] for summary in summaries) for key in keys}
    there = total["num_statements"] + total["num_branches"]
    ran = total["covered_lines"] + total["covered_branches"]
    return {
        "package": package,
        "files": len(summaries),
        "statements": total["num_statements"],
        "branches": total["num_branches"],
        "percent": round(100.0 * ran / max(there, 1), 1),
    }


def _notes(files: Mapping[str, Any]) -> list[str]:
    notes = []
    for name, content in sorted(files.items(), key=lambda item: -item[1]["summary"]["missing_lines"]):
        summary, short = content["summary"], _short(name)
        if summary["missing_lines"] >= NOTED:
            reason = next(why for start, why in ELSEWHERE.items() if short.startswith(start))
            missing = f"{summary['missing_lines']} of {summary['num_statements']} statements"
            notes.append(f"{short}: {missing}: {reason}")
    return notes


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
