"""Board profiles: memory, processor and temperature limits of boards.

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
    """Processor temperatures in °C at which the governor and the firmware act."""

    __pydantic_config__ = CHECKED

    warm_c: Celsius
    """From this temperature the governor shortens plans and reduces step rates."""
    hot_c: Celsius
    """From this temperature the governor suspends populations, lowest priority first."""
    limit_c: Celsius
    """Temperature at which the firmware throttles the processor clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One board."""

    __pydantic_config__ = CHECKED

    board: Text
    """Name of the board."""
    memory_mb: Budget
    """Memory budget of the whole daemon in MiB, including interpreter and libraries."""
    cores: OneOrMore
    """Number of processor cores."""
    threads: OneOrMore
    """Threads per step; one fewer than the number of cores leaves a core for the rest of the system."""
    max_rate_hz: Positive
    """Maximum steps per second of any population."""
    telemetry_bytes_s: OneOrMore = 20_000
    """Long-term limit of telemetry in bytes per second, before compression. Above it telemetry is thinned
    out.
    """
    thermal: ThermalProfile
    """Temperatures."""
    sources: Annotated[tuple[Text, ...], NotEmpty]
    """Sources of the figures."""


def build(document: dict[str, Any]) -> Profile:
    """Return the record of a checked document."""
    return Profile(
        **document | {"thermal": ThermalProfile(**document["thermal"]), "sources": tuple(document["sources"])}
    )
