"""The governor: reduces the daemon's load when the board is overloaded, and restores it afterwards.

Theory of operation. The levels, from full operation to none::

    full → plan shorter → slow → shed (a rung for each priority, the lowest first) → hold

Each reading has thresholds for the levels (`_asked`). The device goes down one level when a reading has
required a lower one for ``DOWN_S`` seconds. It goes up one level when for ``UP_S`` seconds no reading has
required the present one, with every threshold lowered by the margin (hysteresis). Every move has a cause.
Nothing here reads a sensor or a clock.

Other processes may keep a board busy for days (the load average includes them); shorter plans would not help
then. So processor pressure (the kernel's pressure-stall figure), late ticks and missed deadlines lead down
only while this process itself uses a noticeable share of the processor. After a step down they count whatever
the share is, because the share is small only since less is planned.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from edge_agent.config.profile import ThermalProfile

DOWN_S = 5.0
UP_S = 60.0
FULL, PLAN_SHORTER, SLOW, SHED = 0, 1, 2, 3
SLOW_FACTOR = 2.0
NOTICEABLE = 0.2  # of all cores' time


@dataclass(frozen=True, slots=True)
class BoardReadings:
    """What the board tells; None: it does not tell.

    ``temperature_c`` of the processor; ``throttled`` now, by the firmware; ``own`` share of all cores' time
    that the process took since the last look, 0 to 1; ``waiting`` for a processor by anyone (PSI some, avg10,
    percent); ``late`` how late ticks began since the last look, mean, in their periods; ``missed`` deadlines
    a second since the last look; ``pressure`` of memory (PSI some, avg10, percent); ``memory`` of the process
    as a share of its budget; ``battery`` charge, 0 to 1, while discharging.
    """

    temperature_c: float | None = None
    throttled: bool | None = None
    own: float | None = None
    waiting: float | None = None
    late: float = 0.0
    missed: float = 0.0
    pressure: float | None = None
    memory: float | None = None
    battery: float | None = None


@dataclass(frozen=True, slots=True)
class Move:
    """One step on the ladder."""

    rung: int
    name: str
    cause: str


class Governor:
    """The ladder of one device.

    Parameters
    ----------
    thermal : ThermalProfile
        The board's temperatures.
    priorities : iterable of int
        Priorities of the populations.
    """

    def __init__(self, thermal: ThermalProfile, priorities: Iterable[int]) -> None:
        self._thermal = thermal
        order = sorted(set(priorities))
        self.rungs = ("full", "plan shorter", "slow", *(f"shed {p}" for p in order[:-1]), "hold")
        self._order = order
        self.rung = FULL
        self.cause = ""
        self.moves = 0
        self._down_since: float | None = None
        self._up_since: float | None = None

    @property
    def name(self) -> str:
        """Name of the present rung."""
        return self.rungs[self.rung]

    @property
    def hold(self) -> int:
        """The last rung."""
        return len(self.rungs) - 1

    @property
    def slowed(self) -> float:
        """Factor on every population's period."""
        return SLOW_FACTOR if self.rung >= SLOW else 1.0

    @property
    def plans_shorter(self) -> bool:
        """Whether populations look one step ahead only."""
        return self.rung >= PLAN_SHORTER

    def suspended(self, priority: int) -> bool:
        """Whether populations of ``priority`` are suspended."""
        if self.rung == self.hold:
            return True
        return priority in self._order[: max(0, self.rung - SHED + 1)] and self.rung >= SHED

    def look(self, readings: BoardReadings, now: float) -> Move | None:
        """Take the readings of one moment in; return the move, if there is one."""
        asked, cause = self._worst(readings, 1.0)
        if asked > self.rung:
            self._up_since = None
            self._down_since = now if self._down_since is None else self._down_since
            if now - self._down_since >= DOWN_S:
                self.cause = cause
                return self._move(self.rung + 1, cause, now)
            return None
        self._down_since = None
        still, _ = self._worst(readings, _MARGIN)
        if still >= self.rung:
            self._up_since = None
            return None
        self._up_since = now if self._up_since is None else self._up_since
        if now - self._up_since >= UP_S:
            return self._move(self.rung - 1, f"{self.cause} is over", now)
        return None

    def _move(self, rung: int, cause: str, now: float) -> Move:
        self.rung = rung
        self.cause = self.cause if rung else ""
        self.moves += 1
        self._down_since, self._up_since = None, now
        return Move(rung, self.name, cause)

    def _worst(self, readings: BoardReadings, margin: float) -> tuple[int, str]:
        return max(self._asked(readings, margin), key=lambda item: item[0], default=(FULL, ""))

    def _asked(self, readings: BoardReadings, margin: float) -> Iterable[tuple[int, str]]:
        """Yield (rung, cause); ``margin`` below 1 lowers every threshold."""
        t = self._thermal
        if readings.temperature_c is not None:
            degrees, shift = readings.temperature_c, (1.0 - margin) * 30.0
            cause = f"{degrees:.0f} °C"
            for rung, limit in (
                (PLAN_SHORTER, t.warm_c),
                (SLOW, (t.warm_c + t.hot_c) / 2),
                (self.hold, t.limit_c),
            ):
                if degrees >= limit - shift:
                    yield rung, cause
            if degrees >= t.hot_c - shift:
                yield max(SHED, self.hold - 1), cause
        if readings.throttled:
            yield SLOW, "throttled by the firmware"
        if readings.own is None or readings.own >= NOTICEABLE or margin < 1.0:
            yield from self._processor(readings, margin)
        yield from _steps(
            readings.pressure, margin, ((10.0, PLAN_SHORTER), (40.0, SHED)), "memory pressure {:.0f} %"
        )
        yield from _steps(readings.memory, margin, ((1.0, SHED),), "memory at {:.2f} of its budget")
        if readings.battery is not None:
            charge, cause = readings.battery * margin, f"battery at {readings.battery:.0%}"
            for rung, limit in ((PLAN_SHORTER, 0.4), (SLOW, 0.2), (self.hold, 0.05)):
                if charge <= limit:
                    yield rung, cause

    def _processor(self, readings: BoardReadings, margin: float) -> Iterable[tuple[int, str]]:
        """Yield what the processor asks for while this process has a part in it."""
        share = None if readings.own is None else readings.own * 100.0
        own = "" if share is None else f", {share:.0f} % of the processor ours"
        yield from _steps(share, margin, ((90.0, PLAN_SHORTER),), "{:.0f} % of the processor ours")
        yield from _steps(
            readings.waiting, margin, ((40.0, PLAN_SHORTER), (80.0, SLOW)), "processor awaited {:.0f} %" + own
        )
        yield from _steps(
            readings.late, margin, ((0.5, PLAN_SHORTER), (1.0, SLOW)), "ticks {:.1f} periods late" + own
        )
        yield from _steps(
            readings.missed, margin, ((0.5, PLAN_SHORTER), (2.0, SLOW)), "{:.1f} missed deadlines/s" + own
        )


_MARGIN = 0.9


def _steps(
    value: float | None, margin: float, thresholds: tuple[tuple[float, int], ...], cause: str
) -> Iterable[tuple[int, str]]:
    if value is None:
        return
    for limit, rung in thresholds:
        if value >= limit * margin:
            yield rung, cause.format(value)
