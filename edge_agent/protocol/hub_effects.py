"""What the device's side of the hub (`hub_client.HubClient`) asks the daemon to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edge_agent.protocol.command_guard import Begin
from edge_agent.protocol.ports import Publication
from edge_agent.protocol.rollout import Commit, RollBack, StartShadow, Trial, Verify
from edge_agent.protocol.transfer import Write
from edge_agent.wire.blocks import Cut


@dataclass(frozen=True, slots=True)
class Save:
    """Effect: make ``state`` durable before going on."""

    state: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Publish:
    """Effect: publish."""

    publication: Publication


@dataclass(frozen=True, slots=True)
class Download:
    """Effect: fetch the bundle from ``cut.url``."""

    cut: Cut


@dataclass(frozen=True, slots=True)
class Leave:
    """Effect: a population that the hub had added goes."""

    population: str


@dataclass(frozen=True, slots=True)
class Parameters:
    """Effect: these values are desired."""

    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Warn:
    """Effect: log this line; nobody can be answered."""

    text: str


HubEffect = (
    Save
    | Publish
    | Write
    | Download
    | Verify
    | StartShadow
    | Trial
    | Commit
    | RollBack
    | Leave
    | Parameters
    | Begin
    | Warn
)
