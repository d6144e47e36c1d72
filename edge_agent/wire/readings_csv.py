"""Recorded readings as a table: for spreadsheets, and readings from elsewhere for ``edge-convert fit``.

Theory of operation. A row is a time and an agent; columns are modalities, ``bin:MODALITY`` and
``action:CONTROL``. Written are all readings of the same time in one row. Of a table from elsewhere the caller
names the columns; a cell is a number, a text, which becomes a label, or empty for not observed. Times are ISO
8601 (UTC where they have no offset) or seconds since 1970.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from edge_agent.atomic_file import replaced
from edge_agent.errors import ConfigError, PlatformError
from edge_agent.wire.readings import MAX_EVENTS, MAX_TIME, NOT_OBSERVED, ControlNames, ModalityNames, Readings

AGENT = "agent"
MAX_LABELS = 256


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns of a table are read.

    Attributes
    ----------
    modalities, controls : mapping of str to str
        Name to column.
    optional : collection of str
        Columns that may be missing.
    time : str
        Column of the times.
    """

    modalities: Mapping[str, str]
    controls: Mapping[str, str] = field(default_factory=dict)
    optional: frozenset[str] = frozenset()
    time: str = "time"


def write(path: Path, readings: Readings) -> None:
    """Write ``path`` as a whole.

    Raises
    ------
    PlatformError
        The disk refuses.
    """
    try:
        with replaced(path) as file:
            for row in _rows(readings):
                file.write(_line(row).encode())
    except OSError as error:
        raise PlatformError(f"{path}: {error.strerror}") from error


def read(path: Path, columns: Columns) -> Readings:
    """Read a table.

    Raises
    ------
    ConfigError
        It is missing or malformed: one line that names file, line, column, what was found and expected.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return _read(path, columns, csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"{path}: cannot be read as a CSV file: {reason}") from error


def _rows(readings: Readings) -> Iterator[Sequence[str]]:
    binned = [
        bool((readings.bin[readings.modality == m] >= 0).any()) for m in range(len(readings.modalities))
    ]
    names = [m.name for m in readings.modalities]
    bins = [f"bin:{name}" for name, has in zip(names, binned, strict=True) if has]
    header = ["time", AGENT, *names, *bins, *(f"action:{c.name}" for c in readings.controls)]
    yield header
    place = {name: number for number, name in enumerate(header)}
    cells: dict[tuple[float, int], dict[int, str]] = {}
    events = zip(readings.time, readings.agent, readings.modality, readings.value, readings.bin, strict=True)
    for time, agent, m, value, code in events:
        row = cells.setdefault((float(time), int(agent)), {})
        modality = readings.modalities[m]
        if not math.isnan(value):
            labelled = bool(modality.labels) and 0 <= value < len(modality.labels)
            row[place[modality.name]] = modality.labels[int(value)] if labelled else f"{value:.10g}"
        if code != NOT_OBSERVED:
            row[place[f"bin:{modality.name}"]] = str(code)
    acts = zip(
        readings.action_time, readings.action_agent, readings.action_control, readings.action, strict=True
    )
    for time, agent, c, action in acts:
        control = readings.controls[c]
        row = cells.setdefault((float(time), int(agent)), {})
        row[place[f"action:{control.name}"]] = control.values[action]
    for (at, agent), row in sorted(cells.items()):
        when = f"{at:.10g}" if readings.clock == "ticks" else datetime.fromtimestamp(at, UTC).isoformat()
        yield [when, readings.agents[agent], *(row.get(n, "") for n in range(2, len(header)))]


def _line(row: Sequence[str]) -> str:
    quoted = (
        f'"{cell.replace(chr(34), 2 * chr(34))}"' if set(cell) & set(',"\r\n') else cell for cell in row
    )
    return ",".join(quoted) + "\n"


class _Column:
    """One column that is read. Its first cell says whether it has numbers or texts, which are numbered in the
    order in which they come.
    """

    def __init__(self, name: str, labelled: bool | None = None) -> None:
        self.name = name
        self.labels: dict[str, int] = {}
        self._labelled = labelled

    def number(self, where: str, cell: str) -> float:
        """Return the number of a cell that is not empty."""
        number = _number(cell)
        if self._labelled is None:
            self._labelled = number is None
        if self._labelled:
            if cell not in self.labels and len(self.labels) == MAX_LABELS:
                expected = f"at most {MAX_LABELS} different texts"
                raise ConfigError(f"{where}, column {self.name}: found {cell[:40]!r}; expected {expected}")
            return float(self.labels.setdefault(cell, len(self.labels)))
        if number is None or not math.isfinite(number):
            raise ConfigError(f"{where}, column {self.name}: found {cell[:40]!r}; expected a finite number")
        return number


def _read(path: Path, columns: Columns, rows: Iterator[list[str]]) -> Readings:
    header = next(rows, [])
    modalities = _present(path, header, columns.modalities, columns.optional)
    controls = _present(path, header, columns.controls, columns.optional)
    if columns.time not in header:
        raise _column_missing(path, header, columns.time)
    agents: dict[str, int] = {}
    sensors = [_Column(column) for column in modalities.values()]
    actuators = [_Column(column, labelled=True) for column in controls.values()]
    read: list[tuple[float, int, int, float]] = []
    acted: list[tuple[float, int, int, float]] = []
    last: dict[int, float] = {}
    for line, row in enumerate(rows, start=2):
        if not row:
            continue
        where = f"{path}, line {line}"
        if len(row) != len(header):
            raise ConfigError(f"{where}: found {len(row)} cells; expected {len(header)}")
        cells = dict(zip(header, (cell.strip() for cell in row), strict=True))
        agent = agents.setdefault(cells.get(AGENT, "") or AGENT, len(agents))
        time = _time(f"{where}, column {columns.time}", cells[columns.time])
        if time <= last.get(agent, -math.inf):
            found = cells[columns.time]
            raise ConfigError(f"{where}, column {columns.time}: found {found}; expected a later one")
        last[agent] = time
        for entries, found_columns in ((read, sensors), (acted, actuators)):
            for number, column in enumerate(found_columns):
                cell = cells[column.name]
                if cell:
                    entries.append((time, agent, number, column.number(where, cell)))
        if len(read) > MAX_EVENTS or len(acted) > MAX_EVENTS:
            raise ConfigError(f"{where}: found more than {MAX_EVENTS} readings; expected fewer")
    read.sort(key=lambda entry: entry[0])
    acted.sort(key=lambda entry: entry[0])
    events, acts = np.array(read).reshape(-1, 4), np.array(acted).reshape(-1, 4)
    return Readings(
        tuple(agents),
        tuple(
            ModalityNames(name, labels=tuple(column.labels))
            for name, column in zip(modalities, sensors, strict=True)
        ),
        tuple(
            ControlNames(name, tuple(column.labels)) for name, column in zip(controls, actuators, strict=True)
        ),
        events[:, 0],
        events[:, 1].astype(np.int64),
        events[:, 2].astype(np.int64),
        events[:, 3],
        np.full(len(events), NOT_OBSERVED, np.int64),
        acts[:, 0],
        acts[:, 1].astype(np.int64),
        acts[:, 2].astype(np.int64),
        acts[:, 3].astype(np.int64),
    )


def _present(
    path: Path, header: Sequence[str], wanted: Mapping[str, str], optional: frozenset[str]
) -> dict[str, str]:
    for column in wanted.values():
        if column not in header and column not in optional:
            raise _column_missing(path, header, column)
    return {name: column for name, column in wanted.items() if column in header}


def _column_missing(path: Path, header: Sequence[str], column: str) -> ConfigError:
    found = ", ".join(header)[:200] or "none"
    return ConfigError(f"{path}, line 1: found columns {found}; expected {column} among them")


def _time(where: str, cell: str) -> float:
    number = _number(cell)
    if number is not None and abs(number) < MAX_TIME:
        return number
    try:
        stamp = datetime.fromisoformat(cell)
    except ValueError:
        expected = "a time like 2015-02-04T17:51:00 or seconds since 1970"
        raise ConfigError(f"{where}: found {cell[:40]!r}; expected {expected}") from None
    return (stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)).timestamp()


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None
