"""Make a table of the results of ``make mutation``: one row per module, and the surviving mutants.

Usage: ``python -m benchmarks.mutation_table mutants``, where mutmut is installed. A module without results
has no row. `LOOKED_AT` describes the review of the survivors.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mutmut.stats import status_by_exit_code

from benchmarks import report

KILLED = ("killed", "caught by type check", "segfault")
MEANING = "no row: not run yet; no_tests: the selected unit tests do not run it"
LOOKED_AT = (
    "quantize._fit: other starts of Lloyd's iterations (first or last value, thirds for halves, two more "
    "or one less; both ends stand there twice): another palette as close as this one; a test of exact levels "
    "would test our own output",
    "quantize._nearest: side='left' is searchsorted's default",
    "quantize.beliefs_from_codes, palette_codes: astype(None) is float64, which is what stands there; "
    "reshape(None) keeps the shape that numpy 2 gives, numpy 1.26 gives none",
    "arena.Arena.__init__: any byte touches a page, and nobody shares the mapping; "
    "_find: the region behind the end is there for its offset",
    "history.History.__init__: types and sizes of a ring that never holds anything; append: 65505 is 65504 "
    "in float16; _pack: any negative number is reshape's unknown, any level of zlib is "
    "unpacked; _raw: the bound on unpacking guards memory, no answer depends on it",
    "ring.ByteRing.__init__: a ring may begin anywhere",
    "rows.agent_numbers: numbers that ascend by more than one need no sorting either; numpy has no kind X",
    "lanes.Lanes.pop: whether nothing is historical",
    "outbox.Outbox.confirmed: the error is counted, its text is not shown; close: nothing is due any more; "
    "turn: credit above half a window is the same number, rounded or not; __init__, _collect: what the first "
    "transaction overwrites; append: any level of zlib is unpacked, and the next turn sets the same time; "
    "_bound_pending: one byte more or less; _excess: how many old entries are looked at a time",
    "session.Session.__init__, _on_connected: what the first attempt overwrites, and texts of reasons; "
    "_enter: an exponent far beyond the cap; stop: nothing is timed any more; _other_version: every fourth, "
    "counted up or down",
    "unconfirmed.Unconfirmed.confirm: where nothing was freed, nothing is overtaken, from order 0 or 1",
    "rollout, hub_client: the time of an end or of a complete file (now of failed, fetched, resume): "
    "no stage that has a deadline begins there",
    "rollout.of_state: bounds of counters in a file of ours; __init__: what the first stage sets; 'INF'",
    "hub_client.__init__, running, lost: defaults that nobody reads; active_of: lengths and names in a "
    "file of ours; _block: the name of a body in an error that is only counted; unavailable: by_url=None",
    "hub_client._adopt: gates of a rollout that are replaced, or ended with it, at once",
    "bayes_fusion: dtypes that NumPy takes by itself here (int64, float64, '<f8'); default lengths; a jump "
    "of four windows exactly, the present tick again, a base that stays; a tick more of remembering losses",
    "bayes_fusion._action: without a controller nobody is found either; restore: half of an even window",
    "roster: the default bound on names",
)
"""Survivors that change nothing a user could notice, and why."""
LEFT = (
    "left, a user could notice: session's timeouts, refused and resent counted past one; an outbox's marks "
    "of what was thinned (told, unreadable) over a transaction that fails; a hub client's second rollout "
    "that fails in one document",
)


def main(folder: Path) -> None:
    """Print the table and store it for the report."""
    rows: list[dict[str, Any]] = []
    lived: list[str] = []
    for path in sorted(folder.rglob("*.py.meta")):
        codes = json.loads(path.read_text())["exit_code_by_key"]
        counts = Counter(status_by_exit_code[code] for code in codes.values())
        counts.pop("not checked", None)
        if counts:
            rows.append(_row(str(path.relative_to(folder)).removesuffix(".meta"), counts))
            lived += [name for name, code in codes.items() if status_by_exit_code[code] == "survived"]
    for row in rows:
        print("{module:44} {mutants:5} {killed:5} {survived:5} {timeout:4} {no_tests:4}".format(**row))
    notes = [MEANING, *LOOKED_AT, *LEFT, *_survivors(lived)]
    report.write_table("mutation", report.Table("make mutation", report.today(), rows, notes))


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
    functions = Counter(name.split("__mutmut_")[0].replace(".x_", ".").replace(".xǁ", ".") for name in lived)
    for function, count in sorted(functions.items()):
        yield f"{count} lived in {function.replace('ǁ', '.')}"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
