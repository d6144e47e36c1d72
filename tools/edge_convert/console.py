"""What people and machines see: tables and progress bars, or one JSON object.

Tables and JSON go to standard output; progress goes to standard error, and only where it is a terminal.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from rich.console import Console
from rich.progress import track
from rich.table import Table

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]
else:
    Subparsers = Any

Item = TypeVar("Item")


def add_output_options(command: argparse.ArgumentParser) -> None:
    """Add what every command has."""
    command.add_argument("--json", action="store_true", help="one JSON object, for machines")
    command.add_argument("-v", "--verbose", action="store_true", help="details, and what libraries log")


def show(result: Mapping[str, Any], as_json: bool) -> None:
    """Print a result: one JSON object, or a table of keys and values with a table for each list in it."""
    if as_json:
        print(json.dumps(result, indent=2, allow_nan=False))
        return
    console = Console()
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column()
    table.add_column(overflow="fold")
    lists = {}
    for key, value in _flat(result):
        if isinstance(value, list) and value and isinstance(value[0], Mapping):
            lists[key] = value
        else:
            table.add_row(key, text(value))
    console.print(table)
    for key, rows in lists.items():
        console.print(_rows(key, rows))


def text(value: Any) -> str:
    """Return a value as people read it: four significant digits, sizes of lists as they are."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "-"}[value]
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {text(item)}" for key, item in value.items()) or "-"
    if isinstance(value, list | tuple):
        return ", ".join(text(item) for item in value) or "-"
    return str(value)


def progress(items: Iterable[Item], total: int, what: str) -> Iterable[Item]:
    """Yield ``items``, with a bar on standard error while it takes long and somebody can see it."""
    console = Console(stderr=True)
    return track(items, what, total, console=console, transient=True, disable=not console.is_terminal)


def _flat(result: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in result.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _rows(title: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(title=title, title_justify="left")
    columns = list(dict.fromkeys(key for row in rows for key in row))
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(text(row.get(column)) for column in columns))
    return table
