"""Makes a table of what ``make mutation`` found: a row a module, and the mutants that lived.

Usage: ``python tools/mutation_table.py mutants benchmarks/results/mutation.json``, where mutmut is installed.
A module of which nothing ran has no row. What was made of the survivors stands in `LOOKED_AT`.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mutmut.stats import status_by_exit_code

KILLED = ("killed", "caught by type check", "segfault")
LOOKED_AT: tuple[str, ...] = ()
"""Survivors that change nothing a user could notice, and why."""


def main(folder: Path, target: Path) -> None:
    """Print the table and write it."""
    rows, lived = [], []
    for path in sorted(folder.rglob("*.py.meta")):
        codes = json.loads(path.read_text())["exit_code_by_key"]
        counts = Counter(status_by_exit_code[code] for code in codes.values())
        counts.pop("not checked", None)
        if counts:
            rows.append(_row(str(path.relative_to(folder)).removesuffix(".meta"), counts))
            lived += [name for name, code in codes.items() if status_by_exit_code[code] == "survived"]
    for row in rows:
        print("{module:44} {mutants:5} {killed:5} {survived:5} {timeout:4} {no_tests:4}".format(**row))
    document = {
        "command": "make mutation",
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "rows": rows,
        "notes": [*LOOKED_AT, *_survivors(lived)],
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(document, indent=1) + "\n")


def _row(module: str, counts: Counter[str]) -> dict[str, Any]:
    return {
        "module": module,
        "mutants": counts.total(),
        "killed": sum(counts[status] for status in KILLED),
        "survived": counts["survived"],
        "timeout": counts["timeout"],
        "no_tests": counts["no tests"],
    }


def _survivors(lived: list[str]) -> Iterator[str]:
    functions = Counter(name.split("__mutmut_")[0].replace(".x_", ".").replace("xǁ", "") for name in lived)
    for function, count in sorted(functions.items()):
        yield f"{count} lived in {function.replace('ǁ', '.')}"


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
