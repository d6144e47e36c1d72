"""Why a population is suspended. Only `runtime.populations.Populations` adds and removes reasons."""

from __future__ import annotations

import enum


class SuspendReason(enum.Enum):
    """One reason; a population is suspended as long as there is at least one."""

    GOVERNOR = "governor"
    """The board is overloaded and the governor suspends populations of this priority."""
    LOAN = "loan"
    """A peer runs it, or it is a guest that may not run yet: another device acts for its agents."""
    STOP = "stop"
    """The daemon stops, or the population is being removed."""
