"""What the daemon works with and does not make itself: all that touches the outside, and who talks to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from edge_agent.runtime.governor.governor import BoardSigns, Governor
from edge_agent.runtime.mqtt_dispatch import MqttDispatch
from edge_agent.runtime.population.actuators import Sink
from edge_agent.runtime.population.checkpoint import Checkpoints
from edge_agent.runtime.recording.recorder import Recorder
from edge_agent.runtime.reporting.telemetry_publisher import TelemetryPublisher

if TYPE_CHECKING:  # loaded only on a device that has keys of a hub: half a megabyte
    from edge_agent.runtime.daemon import Daemon
    from edge_agent.runtime.peers.coordinator import PeerCoordinator  # and this on one that has peers
    from edge_agent.runtime.reporting.home_assistant import HomeAssistantPublisher
    from edge_agent.runtime.rollout.hub_driver import HubDriver


class Speaker(Protocol):
    """Who speaks for the device beside its observations and actions: with the hub, peers, Home Assistant."""

    def attach(self, daemon: Daemon, link: MqttDispatch) -> None:
        """Speak for ``daemon`` on ``link``; before this there is nothing to do."""

    @property
    def deadline(self) -> float:
        """When `turn` has something to do, monotonic seconds."""

    def turn(self) -> None:
        """Say what is due."""


def _no_signs() -> BoardSigns:
    return BoardSigns()


@dataclass(slots=True, kw_only=True)
class Parts:
    """Handed in; None works without.

    ``rss`` returns the bytes of the process in memory now; ``sinks`` take the actions that do not go to
    MQTT (``file``, ``command``, ``plugin``); ``signs`` tells the governor how the board is; ``boot`` is
    unique to this start of the process; ``tidy`` gives memory back that is no longer in use. ``recorder``
    may be exchanged while the daemon runs.
    """

    rss: Callable[[], int]
    boot: str = ""
    sinks: Mapping[str, Sink] = field(default_factory=dict)
    checkpoints: Checkpoints | None = None
    recorder: Recorder | None = None
    uplink: TelemetryPublisher | None = None
    following: HubDriver | None = None
    announcing: HomeAssistantPublisher | None = None
    peering: PeerCoordinator | None = None
    governor: Governor | None = None
    signs: Callable[[], BoardSigns] = _no_signs
    tidy: Callable[[], None] | None = None

    @property
    def speakers(self) -> list[Speaker]:
        """Those there are, in the order of their turns."""
        found: tuple[Speaker | None, ...] = (self.peering, self.following, self.uplink, self.announcing)
        return [speaker for speaker in found if speaker is not None]
