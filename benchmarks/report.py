"""REPORT.md and README's table of figures, generated from ``benchmarks/results``: ``make report``.

Theory of operation. No figure in the report is typed by hand: figures come from the results of the benchmarks
(`benchmarks.results`), and from tables that other commands write as JSON to the same folder (`Table`).
``sections.toml`` contains the texts: what each section measures and how to run it. The same files always give
the same report.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import front, plots, results
from benchmarks.plots import Curves
from benchmarks.results import Result
from benchmarks.tables import beside, figures_table, table, value_of

ROOT = Path(__file__).parents[1]
REPORT = ROOT / "benchmarks" / "REPORT.md"
PLOTS = ROOT / "benchmarks" / "plots"
SECTIONS = ROOT / "benchmarks" / "sections.toml"
README = ROOT / "README.md"
BEGIN, END = "<!-- figures: begin -->\n", "<!-- figures: end -->\n"


@dataclass(frozen=True, slots=True)
class Table:
    """A table for the report by a command that is not a benchmark, stored as ``results/NAME.json``.

    ``curves`` is drawn where `plots` knows how: a name's pieces, each a list of points.
    """

    command: str
    date: str
    rows: list[dict[str, Any]]
    notes: list[str]
    curves: Curves = field(default_factory=dict)


def load(folder: Path) -> dict[str, Result]:
    """Read the results that are there."""
    names = ("freeagentics", *(section["name"] for section in _said()["section"]))
    return {name: results.read(path) for name in names if (path := folder / f"{name}.json").exists()}


def load_tables(folder: Path) -> dict[str, Table]:
    """Read the tables of other commands that are there."""
    paths = {it["name"]: folder / f"{it['name']}.json" for it in _said()["table"]}
    return {
        name: Table(**{"notes": []} | json.loads(path.read_text(encoding="utf-8")))
        for name, path in paths.items()
        if path.exists()
    }


def curves(tables: Mapping[str, Table]) -> dict[str, Curves]:
    """Return the curves of the tables that have some."""
    return {name: it.curves for name, it in tables.items() if it.curves}


def report(found: Mapping[str, Result], tables: Mapping[str, Table], drawn: list[str]) -> str:
    """Return the whole report."""
    said = _said()
    parts = ["# Benchmark report", said["introduction"], *_summary(found)]
    if "freeagentics" in found:
        parts += ["## Comparison with FreeAgentics (`make bench`)", said["freeagentics"]]
        parts += [front.beside_freeagentics(found), _origin(found["freeagentics"])]
    for section in said["section"]:
        if section["name"] in found:
            parts += _section(section, found[section["name"]], drawn)
    for entry in said["table"]:
        if entry["name"] in tables:
            parts += _table(entry, tables[entry["name"]], drawn)
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _said() -> dict[str, Any]:
    return tomllib.loads(SECTIONS.read_text(encoding="utf-8"))


def _summary(found: Mapping[str, Result]) -> Iterator[str]:
    figures = [(name, figure) for name, result in found.items() for figure in result.figures]
    judged = [(name, figure) for name, figure in figures if figure.holds is not None]
    missed = [(name, figure) for name, figure in judged if not figure.holds]
    met = len(judged) - len(missed)
    yield f"{len(figures)} figures; {met} of {len(judged)} targets are met." + (" Not met:" if missed else "")
    lines = []
    for name, figure in missed:
        against = beside(figure)
        shown = value_of(figure) + (f", {against}" if against else "")
        lines.append(f"- {name}: {figure.case}, {figure.figure}: {shown}; target {figure.target:g}")
    yield "\n".join(lines)
    machines = {json.dumps(_lasting(result.machine)): _lasting(result.machine) for result in found.values()}
    yield table(list(machines.values()))


def _lasting(machine: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in machine.items() if key != "load_before"}


def _section(section: Mapping[str, str], result: Result, drawn: list[str]) -> Iterator[str]:
    name = section["name"]
    yield f"## {section['title']} (`{section.get('command', f'python -m benchmarks.{name}')}`)"
    yield section["text"]
    yield from _picture(section, drawn)
    yield figures_table(result.figures)
    yield _origin(result)


def _origin(result: Result) -> str:
    load = result.machine.get("load_before", "?")
    return (
        f"<sub>`{result.command}`, {result.date}, commit {result.commit}, {result.seconds:.0f} s, "
        f"load average before it {load}</sub>"
    )


def _table(entry: Mapping[str, str], found: Table, drawn: list[str]) -> Iterator[str]:
    yield f"## {entry['title']} (`{found.command}`)"
    yield from _picture(entry, drawn)
    yield table(found.rows)
    yield "\n".join(f"- {note}" for note in found.notes)
    yield f"<sub>{found.date}</sub>"


def _picture(entry: Mapping[str, str], drawn: list[str]) -> Iterator[str]:
    if entry["name"] in drawn:
        yield f"![{entry['title']}](plots/{entry['name']}.svg)"


def in_readme(text: str, section: str) -> str:
    """Return README with its table of figures replaced."""
    pattern = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    return pattern.sub(lambda _: f"{BEGIN}\n{section}\n{END}", text)


def generate(folder: Path = results.FOLDER) -> None:
    """Write the plots, REPORT.md and README's table."""
    found, tables = load(folder), load_tables(folder)
    drawn = plots.draw(found, curves(tables), PLOTS)
    REPORT.write_text(report(found, tables, drawn), encoding="utf-8")
    README.write_text(in_readme(README.read_text(encoding="utf-8"), front.readme(found)), encoding="utf-8")


def today() -> str:
    """Return the date of a table: UTC, ISO 8601."""
    return datetime.now(UTC).date().isoformat()


def write_table(name: str, content: Table, folder: Path = results.FOLDER) -> None:
    """Keep the table of a command for the report."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(results.text(asdict(content)) + "\n", encoding="utf-8")


def main() -> int:
    """Make the report."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    generate()
    return 0


if __name__ == "__main__":
    sys.exit(main())
