"""Rows that are put together from several benchmarks: the comparison with FreeAgentics, and README's figures.

A row names the figure it shows by benchmark, case, figure and baseline; one that was not measured says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from benchmarks.figures import Figure
from benchmarks.results import Result
from benchmarks.tables import number, table, value_of


class Place(NamedTuple):
    """Where a figure stands; ``ratio``: show that instead of the value, as times or as a percentage."""

    benchmark: str
    case: str
    figure: str
    baseline: str | None = None
    ratio: str = ""


Results = Mapping[str, Result]
PER_CENT, TIMES = "%", "×"

PLANNED = "planned"

# their row, their figure, ours
FREEAGENTICS: tuple[tuple[str, str, Place], ...] = (
    ("memory per agent", "34.5 MB", Place("freeagentics", "1,000 agents", "memory per agent")),
    (
        "memory per agent, of one million in one process",
        "34.5 MB (computed from it: about 290 agents in 10 GB)",
        Place("scale", "1000000 agents", "resident per agent"),
    ),
    (
        "inference (5 agents, 250 operations)",
        "370 ms",
        Place("freeagentics", "5 agents, 250 operations", "inference, mean"),
    ),
    ("inferences per second", "2.7", Place("freeagentics", "5 agents, 250 operations", "inferences")),
    (
        "belief updates per second, one agent after the other",
        "target 10,000",
        Place("freeagentics", "one agent after the other", "belief updates"),
    ),
    (
        "belief updates per second, 1,000 agents per call",
        "target 10,000",
        Place("freeagentics", "1,000 agents per call", "belief updates"),
    ),
    (
        "belief update, p99",
        "target below 1 ms",
        Place("freeagentics", "one agent", "belief update, p99"),
    ),
    (
        "one device among 50 simulated ones that coordinate: share of its agent-steps that it keeps",
        "not published",
        Place(
            "coalition",
            "50 devices",
            "agent-steps that the measured device keeps",
            None,
            PER_CENT,
        ),
    ),
    (
        "50 agents over 50 times one agent (theirs: eight cores; here: one process, one core)",
        "28.4 %",
        Place("coalition", "50 agents, one core", "over N times one agent alone", None, PER_CENT),
    ),
    ("1 agent, one thread per agent", "680.5 1/s", Place("freeagentics", "1 agents", "one thread per agent")),
    (
        "5 agents, one thread per agent",
        "190.1 1/s",
        Place("freeagentics", "5 agents", "one thread per agent"),
    ),
    (
        "10 agents, one thread per agent",
        "197.3 1/s",
        Place("freeagentics", "10 agents", "one thread per agent"),
    ),
    (
        "1 agent, one process per agent",
        "13.8 1/s",
        Place("freeagentics", "1 agents", "one process per agent"),
    ),
    (
        "5 agents, one process per agent",
        "47.5 1/s",
        Place("freeagentics", "5 agents", "one process per agent"),
    ),
    (
        "10 agents, one process per agent",
        "63.8 1/s",
        Place("freeagentics", "10 agents", "one process per agent"),
    ),
    ("10 agents, one call for all", "none", Place("freeagentics", "10 agents", "one call for all")),
    (
        "1,000 agents, whole process",
        "target < 100 MB",
        Place("freeagentics", "1,000 agents", "the whole process"),
    ),
    (
        "edge, whole daemon, 1,000 agents with history",
        "target < 50 MB",
        Place("memory", "1000-agents", "RSS"),
    ),
    (
        "edge, whole daemon, 10,000 agents with history",
        "target < 50 MB",
        Place("memory", "10000-agents", "RSS"),
    ),
    ("coalition of 500", "target 1 s", Place("coalition", "500 agents", "formed from nothing")),
    ("creation of 5 agents", "0.103 s", Place("freeagentics", "5 agents, one model each", "made")),
    (
        "start of the whole daemon to its first decision, 1,000 agents",
        "not published",
        Place("startup", "1000-agents", "start to first decision", "importing the libraries"),
    ),
    (
        "growth (theirs: 250 operations; ours: 250,000)",
        "9.8 MB",
        Place("freeagentics", "5 agents, 250,000 operations", "growth"),
    ),
    ("database: processor time to store a message, PostgreSQL", PLANNED, Place("hub", "store", "postgresql")),
    ("REST: lists of 50 of 10,000 devices per second", PLANNED, Place("hub", "rest", "requests")),
    (
        "WebSockets: events delivered per second",
        PLANNED,
        Place("hub", "sockets", "delivered"),
    ),
    ("dashboard: 20,000 devices, usable after", PLANNED, Place("pages", "fleet", "usable")),
    ("alerts: a look at 20,000 devices", PLANNED, Place("alerts", "evaluator", "look")),
)

README: tuple[tuple[str, Place], ...] = (
    (
        "one agent-step, 100 states, batched, one core",
        Place("step", "s2_grid10_T1", "agent_step_us", "a NumPy loop over agents"),
    ),
    (
        "the same on two cores, compared with pymdp's JAX with one shared model and vmap",
        Place("peers", "s2_grid10_T1", "batched", "JAX vmap over beliefs", TIMES),
    ),
    (
        "decisions equal to pymdp's own, 1,000 steps of five models",
        Place("fidelity", "1000 steps", "equal actions", None, PER_CENT),
    ),
    ("whole daemon, 1,000 agents, resident memory", Place("memory", "1000-agents", "RSS")),
    (
        "10,000 agents at 10 Hz over the broker: processor time",
        Place("daemon", "bulk-10000-at-10Hz", "processor"),
    ),
)


def shown(results: Results, place: Place) -> str:
    """Return the figure as text."""
    figure = find(results, place)
    if figure is None:
        return "not measured"
    if place.ratio == PER_CENT:
        return f"{number(100 * figure.compared)} %"
    return f"{number(figure.compared)} ×" if place.ratio == TIMES else value_of(figure)


def find(results: Results, place: Place) -> Figure | None:
    """Return the figure, or None if it was not measured."""
    if place.benchmark not in results:
        return None
    wanted = place.case, place.figure, place.baseline
    own = [
        figure
        for figure in results[place.benchmark].figures
        if (figure.case, figure.figure) == wanted[:2] and (place.baseline in (None, figure.baseline))
    ]
    return own[0] if own else None


def command(place: Place) -> str:
    """Return the command that prints a figure."""
    if place.benchmark == "peers":  # needs an environment, which make sets up
        return "`make bench-peers`"
    return f"`python -m benchmarks.{place.benchmark}`"


def beside_freeagentics(results: Results) -> str:
    """Return the table, row by row."""
    rows = [
        {"row": row, "FreeAgentics": theirs, "here": shown(results, place), "command": command(place)}
        for row, theirs, place in FREEAGENTICS
    ]
    return table(rows)


def readme(results: Results) -> str:
    """Return README's table."""
    rows = [
        {"figure": what, "here": shown(results, place), "command": command(place)} for what, place in README
    ]
    return table(rows)
