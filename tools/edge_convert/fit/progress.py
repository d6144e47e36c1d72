"""Shows how far a fit is, on standard error, where it is a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from edge_convert.fit.estimate import ITERATIONS, Report


@contextmanager
def progress_bar(starts: int) -> Iterator[Report]:
    """Yield what `fit` reports its iterations to."""
    console = Console(stderr=True)
    columns = TextColumn("start {task.fields[guess]}"), BarColumn(), TextColumn("{task.fields[nats]}")
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("fit", total=starts * ITERATIONS, guess=1, nats="")

        def report(start: int, iteration: int, mean: float) -> None:
            completed = start * ITERATIONS + iteration + 1
            bar.update(task, completed=completed, guess=start + 1, nats=f"{mean:.3f} nats per tick")

        yield report
