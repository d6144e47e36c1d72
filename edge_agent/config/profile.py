"""Board profiles: what a board can give and what it can bear.

A profile is a TOML file in ``firmware_profiles``, shipped with the package. Like ``config.records`` these
records are the one definition of every key, and pydantic checks files against them in a child process.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from edge_agent.config.strict import CHECKED

if TYPE_CHECKING:
    from edge_agent.config.bounds import Budget, Celsius, NotEmpty, OneOrMore, Positive, Text


@dataclass(frozen=True, slots=True, kw_only=True)
class ThermalProfile:
    """Degrees Celsius of the processor at which the board, and before it the governor, acts."""

    __pydantic_config__ = CHECKED

    warm_c: Celsius
    """From here the governor plans shorter and steps less often."""
    hot_c: Celsius
    """From here it suspends populations, lowest priority first."""
    limit_c: Celsius
    """Where the firmware throttles the clock by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One board."""

    __pydantic_config__ = CHECKED

    board: Text
    """What the board is called."""
    memory_mb: Budget
    """MiB for the whole daemon, interpreter and libraries included."""
    cores: OneOrMore
    """Cores of the board."""
    threads: OneOrMore
    """Threads a step may use; one core less than the board has keeps the rest of the system alive."""
    max_rate_hz: Positive
    """Most steps a second of any population."""
    telemetry_bytes_s: OneOrMore = 20_000
    """Most bytes a second of telemetry over a long time, before compression; over that it is thinned."""
    thermal: ThermalProfile
    """Temperatures."""
    sources: Annotated[tuple[Text, ...], NotEmpty]
    """Where the figures come from."""


def build(document: dict[str, Any]) -> Profile:
    """Return the record of a checked document."""
    return Profile(
        **document | {"thermal": ThermalProfile(**document["thermal"]), "sources": tuple(document["sources"])}
    )
