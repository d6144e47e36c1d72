"""The state of board and daemon in telemetry: ``wire.bodies.HEALTH``.

Theory of operation. `HealthFigures.figures` is asked once per telemetry message, which carries only what
changed. Figures that waver are made coarse for that: the temperature stays as it was told until it differs by
`DEGREES`, sizes have two significant digits. What the board does not tell is missing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edge_agent.runtime.governor.governor_driver import GovernorDriver

DEGREES = 2.0
WAITING_BYTES = 4096
"""An outbox with less is told as empty: a message on its way is no backlog."""


@dataclass(frozen=True, slots=True)
class BoardHealth:
    """What the adapters tell: free bytes where the state is kept, whether the clock is synchronised; how many
    starts there were, and how the run before ended.
    """

    disk_free: Callable[[], int | None]
    clock_synchronised: Callable[[], bool]
    starts: int
    restart_reason: str


class HealthFigures:
    """Puts the figures together.

    Parameters
    ----------
    board : BoardHealth
        Disk, clock and restarts.
    governor : GovernorDriver, optional
        Rung, cause, temperature, throttling, memory.
    backlog : callable
        Returns the bytes that wait in the outbox.
    """

    def __init__(
        self, board: BoardHealth, governor: GovernorDriver | None, backlog: Callable[[], int]
    ) -> None:
        self._board = board
        self._governor = governor
        self._backlog = backlog
        self._temperature: float | None = None

    def figures(self) -> dict[str, int | float | str]:
        """Return what is known now."""
        board = self._board
        backlog, free = self._backlog(), board.disk_free()
        found: dict[str, int | float | str] = {
            "clock_synchronised": int(board.clock_synchronised()),
            "outbox_bytes": int(_coarse(backlog)) if backlog >= WAITING_BYTES else 0,
            "starts": board.starts,
            "restart_reason": board.restart_reason,
        }
        if free is not None:
            found["disk_free_mb"] = _coarse(free / 1e6)
        if self._governor is not None:
            found |= self._governed(self._governor)
        return found

    def _governed(self, driver: GovernorDriver) -> dict[str, int | float | str]:
        seen, governor = driver.seen, driver.governor
        found: dict[str, int | float | str] = {"rung": governor.rung, "cause": governor.cause}
        if seen.temperature_c is not None:
            told = self._temperature
            if told is None or abs(seen.temperature_c - told) >= DEGREES:
                self._temperature = round(seen.temperature_c)
            found["temperature_c"] = self._temperature or 0.0
        if seen.throttled is not None:
            found["throttled"] = int(seen.throttled)
        if seen.memory is not None:
            found["memory_share"] = round(seen.memory, 2)
        return found


def _coarse(value: float) -> float:
    """Return a value with two significant digits."""
    return float(f"{value:.1e}")
