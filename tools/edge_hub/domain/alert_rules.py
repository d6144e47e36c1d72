"""Alert rules: which figure of a device is compared with which limit, for how long, in which groups.

Theory of operation. A rule names a field: ``silence`` (seconds since the device was heard), ``gaps`` (missing
telemetry messages), or a series of telemetry, such as ``rss`` or ``rooms/contradictions``; ``*/NAME`` is the
sum of a counter over all populations. So a field that devices begin to report needs no change here. The
measure is the field's ``value``, its ``increase`` within a window, or its ``trend``: the slope per hour of
the least-squares line through the window.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from edge_agent.errors import ConfigError
from edge_hub.domain import filters

SILENCE, GAPS = "silence", "gaps"
MEASURES = ("value", "increase", "trend")
SEVERITIES = ("warning", "critical")
MAX_SECONDS = 30 * 86_400.0
MAX_WINDOW_S = 86_400.0
MIN_POINTS = 4
"""A trend is made of at least so many points, which cover at least half of the window."""
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_GROUP = re.compile(r"fleet|device|label\.[A-Za-z0-9_.-]{1,64}")
_TARGET = re.compile(r"[A-Za-z0-9_.-]{1,64}")
MAX_FIELD = 257

Point = tuple[float, float]
"""Time (Unix seconds) and value."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule.

    ``above`` is whether a measure above ``limit`` breaks the rule, else one below it. It must be broken for
    ``for_s`` before a device counts, and kept for ``recover_s`` within ``recover_limit`` before it no longer
    does. ``group`` is what one alert covers: a ``fleet``, a ``device``, or the devices with the same value of
    ``label.KEY``. An alert is told ``wait_s`` after it began, so that devices that follow are in the same
    notice, and again when it has grown, at most once per ``update_s``. ``notify`` names targets, all of them
    if empty.
    """

    name: str
    field: str
    limit: float
    above: bool = True
    measure: str = "value"
    window_s: float = 0.0
    recover_limit: float | None = None
    for_s: float = 60.0
    recover_s: float = 60.0
    filter: str = ""
    group: str = "fleet"
    wait_s: float = 10.0
    update_s: float = 300.0
    severity: str = "warning"
    notify: tuple[str, ...] = ()
    enabled: bool = True
    note: str = ""

    def broken(self, value: float) -> bool:
        """Whether a measure is on the wrong side of the limit."""
        return value > self.limit if self.above else value < self.limit

    def kept(self, value: float) -> bool:
        """Whether a measure is back within the limit for recovery."""
        limit = self.limit if self.recover_limit is None else self.recover_limit
        return value <= limit if self.above else value >= limit

    def text(self) -> str:
        """Return the condition in words."""
        what = {"value": "", "increase": "increase of ", "trend": "trend of "}[self.measure] + self.field
        if self.measure != "value":
            what += f" within {self.window_s:g} s"
        unit = " per hour" if self.measure == "trend" else ""
        return f"{what} {'>' if self.above else '<'} {self.limit:g}{unit} for {self.for_s:g} s"

    def plain(self) -> dict[str, Any]:
        """Return the rule as JSON has it."""
        return asdict(self) | {"notify": list(self.notify)}


DEFAULTS = (
    Rule("silent", SILENCE, 300.0, for_s=30.0, recover_s=10.0, severity="critical"),
    Rule("gaps", GAPS, 0.0, measure="increase", window_s=3600.0, recover_s=0.0),
    Rule("contradictions", "*/contradictions", 100.0, measure="increase", window_s=600.0),
    Rule("hot", "health/temperature_c", 80.0, recover_limit=75.0, severity="critical"),
    Rule("throttled", "health/throttled", 0.0),
    Rule("disk-full", "health/disk_free_mb", 200.0, above=False, recover_limit=300.0),
    Rule("outbox-full", "health/outbox_bytes", 16e6, for_s=300.0),
    Rule("clock-off", "health/clock_synchronised", 1.0, above=False, for_s=600.0),
    Rule("restarts", "health/starts", 3.0, measure="increase", window_s=3600.0, recover_s=0.0),
    Rule("memory-growth", "rss", 1e6, measure="trend", window_s=6 * 3600.0, for_s=900.0, group="device"),
)
"""The rules of a new hub; trends in bytes per hour."""


def parse(values: Mapping[str, Any]) -> Rule:
    """Return a rule from JSON.

    Raises
    ------
    ConfigError
        A key or a value is wrong.
    """
    known = {item.name for item in fields(Rule)}
    if unknown := sorted(set(values) - known):
        raise ConfigError(f"rule: found {unknown[0]!r}, expected one of {', '.join(sorted(known))}")
    rule = Rule(**{**values, "notify": tuple(values.get("notify", ()))})
    where = f"rule {rule.name[:64]!r}"
    if not _NAME.fullmatch(rule.name):
        raise ConfigError(f"{where}: expected 1 to 64 of a-z, 0-9 and - as its name")
    if rule.measure not in MEASURES or rule.severity not in SEVERITIES:
        raise ConfigError(
            f"{where}: expected measure of {', '.join(MEASURES)}, severity of {', '.join(SEVERITIES)}"
        )
    if not rule.field or len(rule.field) > MAX_FIELD or not rule.field.isprintable():
        raise ConfigError(f"{where}: field: expected silence, gaps, rss or POPULATION/COUNTER")
    if not _GROUP.fullmatch(rule.group):
        raise ConfigError(f"{where}: group: found {rule.group[:80]!r}, expected fleet, device or label.KEY")
    for name in rule.notify:
        if not _TARGET.fullmatch(name):
            raise ConfigError(f"{where}: notify: found {name[:80]!r}, expected names of targets")
    _check_numbers(rule, where)
    filters.parse(rule.filter)
    return rule


def _check_numbers(rule: Rule, where: str) -> None:
    limits = [rule.limit] + ([] if rule.recover_limit is None else [rule.recover_limit])
    if not all(math.isfinite(limit) for limit in limits):
        raise ConfigError(f"{where}: limit: expected a finite number")
    if rule.recover_limit is not None and rule.broken(rule.recover_limit):
        raise ConfigError(f"{where}: recover_limit: found {rule.recover_limit:g}, which breaks the rule")
    for key in ("for_s", "recover_s", "wait_s", "update_s"):
        if not 0.0 <= getattr(rule, key) <= MAX_SECONDS:
            raise ConfigError(f"{where}: {key}: expected 0 to {MAX_SECONDS:g} seconds")
    if rule.measure == "value":
        if rule.window_s:
            raise ConfigError(f"{where}: window_s: expected none with measure value")
    elif not 60.0 <= rule.window_s <= MAX_WINDOW_S:
        raise ConfigError(f"{where}: window_s: expected 60 to {MAX_WINDOW_S:g} seconds")
    if rule.field == SILENCE and rule.measure != "value":
        raise ConfigError(f"{where}: measure: expected value with the field silence")
    if rule.field == GAPS and rule.measure != "increase":
        raise ConfigError(f"{where}: measure: expected increase with the field gaps")


def increase(points: Sequence[Point]) -> float | None:
    """Return by how much a counter rose; a fall is a restart from 0. None for less than two points."""
    if len(points) < 2:
        return None
    total = 0.0
    for (_, before), (_, after) in itertools.pairwise(points):
        total += after - before if after >= before else after
    return total


def trend(points: Sequence[Point], window: float) -> float | None:
    """Return the slope of the least-squares line, per hour; None if there are too few points for one."""
    if len(points) < MIN_POINTS or points[-1][0] - points[0][0] < window / 2:
        return None
    start = points[0][0]
    n = len(points)
    mean_t = sum(t - start for t, _ in points) / n
    mean_v = sum(value for _, value in points) / n
    spread = sum((t - start - mean_t) ** 2 for t, _ in points)
    shared = sum((t - start - mean_t) * (value - mean_v) for t, value in points)
    return 3600.0 * shared / spread if spread else None


def measured(rule: Rule, points: Sequence[Point]) -> float | None:
    """Return the measure of a rule that looks back; None if it is not known."""
    return trend(points, rule.window_s) if rule.measure == "trend" else increase(points)
