"""The port for checking a configuration: it runs in a thread, and the result is returned as news.

`services.configuration_checker.ConfigurationChecker` is the one of the daemon.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from edge_agent.config.records import Config
from edge_agent.memory.budget import Plan


class PlannedConfiguration(Protocol):
    """A configuration that was read, checked and planned."""

    @property
    def config(self) -> Config:
        """The configuration."""

    @property
    def plan(self) -> Plan:
        """Its memory plan."""


@dataclass(frozen=True, slots=True)
class Checked:
    """News: the configuration with the values called ``digest``; the reason as a text if it was refused."""

    digest: str
    result: PlannedConfiguration | str


class ConfigurationPort(Protocol):
    """Checks what a hub sets in the configuration."""

    def check(self, digest: str, values: Mapping[str, Any], plan: Plan) -> None:
        """Begin to check the file with ``values`` beside the running ``plan``; `Checked` follows."""

    def news(self) -> Sequence[Checked]:
        """Return what ended since the last call."""
