"""Results on disk: one JSON file per benchmark, read by the report and by ``make bench-check``.

``{"benchmark", "command", "date", "commit", "machine", "seconds", "cases": {CASE: [...]}}``, one line per
figure; default values are omitted. The last release's figures are kept in ``baseline.json``: ``{"release",
"commit", "machine", "benchmarks": {NAME: {CASE: [...]}}}``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure

FOLDER = Path(__file__).parent / "results"
BASELINE = FOLDER / "baseline.json"
_DEFAULTS = {field.name: field.default for field in fields(Figure) if field.default is not MISSING}
Cases = dict[str, tuple[Figure, ...]]


@dataclass(frozen=True, slots=True)
class Result:
    """What one benchmark measured, when, where and by which command; ``seconds`` is how long that took."""

    benchmark: str
    command: str
    date: str
    commit: str
    machine: dict[str, Any]
    seconds: float
    cases: Cases

    @property
    def figures(self) -> tuple[Figure, ...]:
        """The figures of all cases."""
        return tuple(figure for figures in self.cases.values() for figure in figures)


@dataclass(frozen=True, slots=True)
class Baseline:
    """What a release measured."""

    release: str
    commit: str
    machine: dict[str, Any]
    benchmarks: dict[str, Cases]


def write(folder: Path, result: Result) -> Path:
    """Write ``folder/BENCHMARK.json`` and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{result.benchmark}.json"
    path.write_text(text(asdict(result) | {"cases": _plain(result.cases)}) + "\n", encoding="utf-8")
    return path


def read(path: Path) -> Result:
    """Read one file."""
    found = json.loads(path.read_text(encoding="utf-8"))
    return Result(**found | {"cases": _cases(found["cases"])})


def write_baseline(path: Path, baseline: Baseline) -> None:
    """Keep the figures of a release."""
    benchmarks = {name: _plain(cases) for name, cases in sorted(baseline.benchmarks.items())}
    path.write_text(text(asdict(baseline) | {"benchmarks": benchmarks}) + "\n", encoding="utf-8")


def read_baseline(path: Path) -> Baseline:
    """Read the figures of a release."""
    found = json.loads(path.read_text(encoding="utf-8"))
    return Baseline(**found | {"benchmarks": {name: _cases(it) for name, it in found["benchmarks"].items()}})


def _cases(found: Mapping[str, Iterable[Mapping[str, Any]]]) -> Cases:
    return {case: tuple(Figure(**figure) for figure in figures) for case, figures in found.items()}


def _plain(cases: Cases) -> dict[str, list[dict[str, Any]]]:
    return {
        case: [
            {key: value for key, value in asdict(figure).items() if value != _DEFAULTS.get(key, MISSING)}
            for figure in figures
        ]
        for case, figures in cases.items()
    }


def text(found: Any, indent: str = "") -> str:
    """Return JSON with one line an item of a list, so that a change of one shows as one line."""
    inner = indent + "  "
    if isinstance(found, list) and found:
        rows = ",\n".join(inner + json.dumps(row, ensure_ascii=False) for row in found)
        return f"[\n{rows}\n{indent}]"
    if isinstance(found, dict) and any(isinstance(value, dict | list) for value in found.values()):
        pairs = ",\n".join(f"{inner}{json.dumps(key)}: {text(value, inner)}" for key, value in found.items())
        return f"{{\n{pairs}\n{indent}}}"
    return json.dumps(found, ensure_ascii=False)
