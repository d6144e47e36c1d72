"""The ``telemetry`` sections of a device.toml; see ``config.records``.

A device without such a section never loads this.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from edge_agent.config.strict import CHECKED

if TYPE_CHECKING:
    from edge_agent.config.bounds import Interval, Name, Text


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureConfig:
    """A figure of the user's own: a number in a file or in messages on a topic."""

    __pydantic_config__ = CHECKED

    name: Name
    """Name of the figure in the series."""
    path: str = ""
    """File that contains one number, read at each interval; {agent}, {index} and {population} are filled in.
    """
    topic: str = ""
    """MQTT topic instead of a file; the newest number is sent, once. {agent}, {index} and {population} are
    filled in."""
    pointer: str = ""
    """Where in the JSON message (RFC 6901) the number is; empty uses the whole payload."""
    scale: float = 1.0
    """Factor from the number to the figure."""
    offset: float = 0.0
    """Added after ``scale``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TelemetryConfig:
    """Series of chosen agents that are sent to the hub; without such a section none are. ``edge-agent check``
    prints what they cost.
    """

    __pydantic_config__ = CHECKED

    population: Name
    """Population whose agents are meant."""
    agents: tuple[Text, ...] = ()
    """Names of the agents, or their numbers; empty takes all."""
    interval_s: Interval = 60.0
    """Seconds between two samples of each series."""
    readings: tuple[Text, ...] = ()
    """Modalities whose newest reading is sent, in the modality's unit; of a modality without a unit, of a
    label, and of bulk messages the number of the bin. A stale reading is not sent."""
    beliefs: tuple[Text, ...] = ()
    """States whose probability is sent, as FACTOR=STATE; names or numbers."""
    actions: tuple[Text, ...] = ()
    """Controls whose newest decision is sent: its value if that is a number, else the value's place. None is
    sent while the agent is held at its safe value."""
    figures: tuple[Literal["free_energy"], ...] = ()
    """Figures of the engine: ``free_energy`` of the agent's last update in nats."""
    figure: tuple[FigureConfig, ...] = ()
    """Figures of the user's own."""


def build_telemetry(entry: dict[str, Any]) -> TelemetryConfig:
    """Return the record of a checked section."""
    lists = {key: tuple(entry[key]) for key in ("agents", "readings", "beliefs", "actions", "figures")}
    return TelemetryConfig(
        **entry | lists | {"figure": tuple(FigureConfig(**item) for item in entry["figure"])}
    )
