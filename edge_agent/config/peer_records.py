"""Configuration records for peers: this device's settings, the fleet's objectives, shared factors.

Theory of operation. Records as in ``config.records``, loaded only if the file has a ``peers`` section.
Objectives must be the same on every device of the fleet: their digest is their version, so devices with
different texts never confirm a coalition. The integers that the protocol computes with are made here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

from edge_agent.config.strict import CHECKED
from edge_agent.protocol.peers import proximity
from edge_agent.protocol.peers.objectives import Objective, Role
from edge_agent.wire.presence import Geographic, Hexagon, Metric, Place, Position

if TYPE_CHECKING:
    from edge_agent.config.bounds import Count, NotEmpty, NotNegative, OneOrMore, Positive, Text, Window

MILLIMETRES = 1000
DEGREES = 10_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class PeersConfig:
    """Cooperation with the other devices of the fleet. Without this section there is none."""

    __pydantic_config__ = CHECKED

    heartbeat_s: Positive = 30.0
    """Heartbeat interval in seconds, the same on every device of the fleet (60 for 10,000 devices). A device
    that is silent for 1.5 intervals is considered gone.
    """
    pause_s: Positive = 1.0
    """Minimum interval between two presence messages in seconds."""
    skew_s: Positive = 30.0
    """Largest accepted clock difference of a peer in seconds. Messages beyond it are refused and lower the
    peer's reputation.
    """
    devices: OneOrMore = 256
    """Maximum number of devices in the roster."""
    capabilities: tuple[Text, ...] = ()
    """Capabilities of the device, as named by the roles of objectives."""
    capacity: Count = 1
    """Capacity of the device, in the units of the roles' ``demand``."""
    place: str = ""
    """Position as a place name with levels separated by ``/``, e.g. campus/b1/floor2."""
    at_m: tuple[float, float] | None = None
    """Position as x and y in the fleet's own plane, metres."""
    lat_lon: tuple[float, float] | None = None
    """Position as latitude and longitude in degrees."""
    h3: str = ""
    """Position as an H3 cell index in hexadecimal."""
    period_s: Positive = 1.0
    """Length of a fleet tick in seconds, the same on every device of the fleet. Clocks must agree within half
    of it.
    """
    window: Window = 32
    """Number of fleet ticks by which evidence may be late. Later evidence is dropped and counted."""
    worthwhile_nats: NotNegative = 0.0
    """Evidence is sent only if all unsent evidence together changes a belief by more than this."""
    records_per_tick: OneOrMore = 16
    """Maximum number of evidence records sent per fleet tick."""
    room_kb: Count = 0
    """Memory in KiB reserved for populations of other devices; 0 accepts none."""
    key_file: str = ""
    """Secret key file of this device (``edge-convert keygen``). It signs the beliefs of lent populations."""
    keys: dict[str, Text] = field(default_factory=dict)
    """Device name → its public key file: the devices that populations are borrowed from and lent to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleConfig:
    """One device's part in a coalition."""

    __pydantic_config__ = CHECKED

    name: Text
    """Name of the role, unique in its objective."""
    capability: Text
    """Capability that the device must have."""
    demand: OneOrMore = 1
    """Capacity that the role uses."""
    weight: OneOrMore = 1
    """Weight of the role in the objective's worth."""
    required: bool = True
    """Whether the objective needs this role to have any worth."""
    preferences: dict[str, tuple[float, ...]] = field(default_factory=dict)
    """Modality → log-preferences (nats, one per outcome) added to the device's own while the coalition is
    confirmed.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectiveConfig:
    """A task for several devices. Its text must be the same on every device of the fleet."""

    __pydantic_config__ = CHECKED

    name: Text
    """Name of the objective, unique."""
    priority: OneOrMore = 1
    """Objectives with a higher priority are filled first."""
    place: str = ""
    """Position as in ``peers``; without a position the objective is served anywhere."""
    at_m: tuple[float, float] | None = None
    """Position as x and y, metres."""
    lat_lon: tuple[float, float] | None = None
    """Position as latitude and longitude in degrees."""
    h3: str = ""
    """Position as an H3 cell index in hexadecimal."""
    reach: NotNegative | None = None
    """Maximum distance of members: metres, degrees, or levels up in a place or H3 cell; unlimited if missing.
    """
    role: Annotated[tuple[RoleConfig, ...], NotEmpty]
    """Its roles."""
    synergy: tuple[tuple[str, str, int], ...] = ()
    """Rows [role, role, weight]: worth added if both roles are filled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareConfig:
    """A hidden factor that agents of several devices observe. Their evidence is combined."""

    __pydantic_config__ = CHECKED

    factor: Text
    """Name of the factor in the bundle, or its number."""
    channel: Text = "{agent}"
    """Name under which evidence is shared; {agent}, {index} and {population} are filled in. Without a field
    all agents of the population share one factor.
    """
    controller: str = ""
    """Device whose action changes the factor, if any: the action of its first agent on the channel."""


def position(config: PeersConfig | ObjectiveConfig) -> Position:
    """Return the position that the keys ``place``, ``at_m``, ``lat_lon`` or ``h3`` name."""
    if config.place:
        return Place(config.place)
    if config.at_m is not None:
        x, y = (round(value * MILLIMETRES) for value in config.at_m)
        return Metric(x, y)
    if config.lat_lon is not None:
        lat, lon = (round(value * DEGREES) for value in config.lat_lon)
        return Geographic(lat, lon)
    return Hexagon(int(config.h3, 16)) if config.h3 else None


def objective(config: ObjectiveConfig) -> Objective:
    """Return the objective as all devices compute with it."""
    where = position(config)
    unit = {Metric: MILLIMETRES, Geographic: DEGREES}.get(type(where), 1)
    text = json.dumps(asdict(config), sort_keys=True).encode()
    return Objective(
        config.name,
        tuple(Role(**asdict(role)) for role in config.role),
        config.priority,
        where,
        proximity.ANYWHERE if config.reach is None else round(config.reach * unit),
        config.synergy,
        int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big"),
    )


def build_peers(entry: Mapping[str, Any]) -> PeersConfig:
    """Return the record of a checked ``peers`` section."""
    pairs = {key: None if entry[key] is None else tuple(entry[key]) for key in ("at_m", "lat_lon")}
    return PeersConfig(**{**entry, **pairs, "capabilities": tuple(entry["capabilities"])})


def build_objective(entry: Mapping[str, Any]) -> ObjectiveConfig:
    """Return the record of a checked ``objective`` section."""
    pairs = {key: None if entry[key] is None else tuple(entry[key]) for key in ("at_m", "lat_lon")}
    roles = tuple(
        RoleConfig(**{**role, "preferences": {m: tuple(v) for m, v in role["preferences"].items()}})
        for role in entry["role"]
    )
    synergy = tuple((str(one), str(other), int(weight)) for one, other, weight in entry["synergy"])
    return ObjectiveConfig(**{**entry, **pairs, "role": roles, "synergy": synergy})
