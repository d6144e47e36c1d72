"""What held and what did not: pure functions from samples and counts to a table.

Growth is the slope of resident memory over a life that is long enough, its first part left out: the median
of the slopes between all pairs of (thinned) samples, which no one jump of the allocator decides (Theil 1950).
A life under a quarter of an hour gives no rate an hour: its heap is still filling. Its growth is what the
last quarter has above the first. Deadlines that were missed while the sampler itself was held up are the
machine's, not the daemon's, and told apart.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any

from benchmarks.soak.hub import Stored
from benchmarks.soak.watch import INTERVAL_S, Sample, lives

TRACEBACK = "Traceback (most recent call last)"
WARM_UP_S = 60.0
LONG_S = 900.0
PAIRS_OF = 60
MAX_SLOPE_MB_H = 3.0
MAX_GROWTH_MB = 1.0
MAX_MISSED_SHARE = 0.001
SPARE_MISSES = 5  # a run of half a minute has too few ticks for a share
MAX_DESCRIPTORS = 2
MAX_WRITTEN_MB_MIN = 2.0
MAX_HUB_SLOPE_MB_H = 10.0
MAX_HUB_GROWTH_MB = 25.0
"""A process of the hub keeps what it looks up of devices and answers, whatever their number here: 10 MB. A
worker loads NumPy, 14 MB, with the first learned counts that come to it, at any time of its life.
"""
ROW_BYTES = 250
"""What PostgreSQL may take for a message besides its payload: the row's own 90 bytes and its entries in two
indexes, which are half empty at the worst.
"""
EMPTY_BYTES = 450_000
"""The tables of three days without rows: pages of indexes, TOAST and free-space maps."""
MB = 1e6


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the verdict; ``holds`` is None where it is only told."""

    what: str
    found: str
    limit: str = ""
    holds: bool | None = None

    @property
    def row(self) -> dict[str, Any]:
        """The line as the report has it."""
        return {"check": self.what, "found": self.found, "limit": self.limit, "holds": _word(self.holds)}


def growth(samples: Sequence[Sample]) -> tuple[str, float, float]:
    """Return what was reckoned ("MB per hour" or "MB"), the growth of the longest life, and its limit."""
    life = max(lives(samples), key=len)
    length = len(life) * INTERVAL_S  # samples, not the clock: it goes on while the machine stands still
    warm = life[round(min(WARM_UP_S, length / 3) / INTERVAL_S) :]
    if length < LONG_S or len(warm) < 4:
        quarter = max(len(warm) // 4, 1)
        first, last = (statistics.median(s.rss for s in part) for part in (warm[:quarter], warm[-quarter:]))
        return "MB", (last - first) / MB, MAX_GROWTH_MB
    step = max(len(warm) // PAIRS_OF, 1)
    thin = list(enumerate(warm[::step]))
    slopes = [(b.rss - a.rss) / ((n - m) * step * INTERVAL_S) for (m, a), (n, b) in combinations(thin, 2)]
    return "MB per hour", statistics.median(slopes) * 3600 / MB, MAX_SLOPE_MB_H


def missed(samples: Sequence[Sample]) -> tuple[int, int, int]:
    """Return ticks, deadlines missed, and of these those missed while the machine stood still."""
    ticks = total = excused = 0
    for life in lives(samples):
        ticks += life[-1].rooms["ticks"] - life[0].rooms["ticks"]
        total += life[-1].rooms["missed"]
        excused += life[0].rooms["missed"] if life[0].late else 0
        for before, after in pairwise(life):
            if after.late:
                excused += after.rooms["missed"] - before.rooms["missed"]
    return ticks, total, excused


def descriptors(samples: Sequence[Sample]) -> tuple[int, list[str]] | None:
    """Return by how much open descriptors grew over a life, at worst, and what the new ones refer to.

    The least of a life's second half is compared with the most of its first half: while a bundle is tried,
    a daemon has two sockets and a file more, and keeps the file. Samples that are offline do not count, and
    a life shorter than `WARM_UP_S` is not judged: a trial may fill half of it. None: no life was longer.
    """
    found = []
    for life in lives(samples):
        online = [s.descriptors for s in life if s.status["broker"]["state"] == "online"]
        if len(online) * INTERVAL_S >= WARM_UP_S:
            half = len(online) // 2
            most, least = max(online[:half], key=len), min(online[half:], key=len)
            found.append((len(least) - len(most), sorted((Counter(least) - Counter(most)).elements())))
    return max(found, default=None)


def written_per_minute(samples: Sequence[Sample]) -> float:
    """Return MB per minute that a daemon had the kernel write to the disk, over all its lives."""
    found = [(life[-1].written, life[-1].t - life[0].t) for life in lives(samples)]
    return sum(n for n, _ in found) / MB / max(sum(t for _, t in found) / 60, 1e-9)


def checks_of(name: str, samples: Sequence[Sample], filled: bool) -> list[Check]:
    """Return the lines about one daemon; ``filled``: its disk was full at times, so writes had to fail."""
    unit, slope, limit = growth(samples)
    ticks, late, excused = missed(samples)
    own = late - excused
    disk = written_per_minute(samples)
    last = samples[-1].status
    failures = last["checkpoint"]["failed"] + last["telemetry"]["failures"] + last["telemetry"]["unreadable"]
    allowed = max(round(MAX_MISSED_SHARE * ticks), SPARE_MISSES)
    return [
        Check(f"{name}: growth of resident memory", f"{slope:+.2f} {unit}", f"{limit:g}", slope <= limit),
        Check(f"{name}: resident, last", f"{samples[-1].rss / MB:.1f} MB"),
        Check(f"{name}: deadlines missed", f"{own} of {ticks:,}", f"{allowed}", own <= allowed),
        Check(f"{name}: missed while the machine stood still", f"{excused}"),
        _descriptors_of(name, samples),
        Check(
            f"{name}: written",
            f"{disk:.2f} MB per minute",
            f"{MAX_WRITTEN_MB_MIN:g}",
            disk <= MAX_WRITTEN_MB_MIN,
        ),
        Check(f"{name}: writes that failed", f"{failures}", *(() if filled else ("0", failures == 0))),
    ]


def hub_checks(
    samples: Mapping[str, Sequence[Sample]], stored: Stored, alerts: Sequence[Mapping[str, Any]], log: str
) -> list[Check]:
    """Return the lines about the hub: memory, what its database took, alerts raised and cleared."""
    out = []
    for name, own in samples.items():
        what = f"{name}: growth of resident memory"
        if max(map(len, lives(own))) * INTERVAL_S < WARM_UP_S:  # it still loads what it needs
            out.append(Check(what, f"no life of {WARM_UP_S:g} s"))
        else:
            unit, slope, _ = growth(own)
            limit = MAX_HUB_GROWTH_MB if unit == "MB" else MAX_HUB_SLOPE_MB_H
            out.append(Check(what, f"{slope:+.2f} {unit}", f"{limit:g}", slope <= limit))
        out.append(Check(f"{name}: resident, last", f"{own[-1].rss / MB:.1f} MB"))
    plan = stored.payload + ROW_BYTES * stored.messages + EMPTY_BYTES
    still_open = [alert for alert in alerts if alert["status"] != "cleared"]
    return [
        *out,
        Check(
            "hub: the telemetry's tables",
            f"{stored.size / MB:.2f} MB for {stored.messages:,} messages",
            f"{plan / MB:.2f} MB",
            stored.size <= plan,
        ),
        Check("hub: alerts raised", f"{len(alerts)}", "> 0", bool(alerts)),
        Check("hub: alerts that did not clear", f"{len(still_open)}", "0", not still_open),
        Check("hub: tracebacks in its log", f"{log.count(TRACEBACK)}", "0", TRACEBACK not in log),
    ]


def loss(rows: Sequence[Mapping[str, Any]], devices: Sequence[str]) -> list[Check]:
    """Return the lines about telemetry from what the hub's ingest told at its end."""
    out = []
    for name in devices:
        own = [row for row in rows if row["device"] == name]
        stored = sum(row["messages"] for row in own)
        gaps, thinned = sum(row["gaps"] for row in own), sum(row["thinned"] for row in own)
        first = min((row["first"] for row in own), default=0)
        out += [
            Check(
                f"{name}: telemetry lost",
                f"{gaps} of {stored}, from {first} on",
                "0",
                gaps == 0 and stored > 0 and first == 1,
            ),
            Check(
                f"{name}: outboxes, thinned out",
                f"{len(own)}, {thinned}",
                "1, 0",
                (len(own), thinned) == (1, 0),
            ),
        ]
    return out


def _descriptors_of(name: str, samples: Sequence[Sample]) -> Check:
    what, found = f"{name}: growth of descriptors", descriptors(samples)
    if found is None:
        return Check(what, f"no life of {WARM_UP_S:g} s")
    more, new = found
    holds = more <= MAX_DESCRIPTORS
    return Check(what, f"{more:+d}" + ("" if holds else f": {', '.join(new)}"), f"{MAX_DESCRIPTORS}", holds)


def _word(holds: bool | None) -> str:
    return {True: "yes", False: "**no**", None: ""}[holds]
