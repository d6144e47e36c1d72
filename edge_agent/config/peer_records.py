"""What a configuration says about peers: how this device takes part, what is worth doing together, what is
shared.

Theory of operation. Records as in ``config.records``, loaded only where the file has a ``peers`` section.
Objectives must be the same on every device of the fleet: their digest is their version, so that devices that
disagree about one never confirm a coalition for it. What protocols compute with is made here, in integers.
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
    """How the device works with others of its fleet. Without this section it does not."""

    __pydantic_config__ = CHECKED

    heartbeat_s: Positive = 30.0
    """Seconds between words of presence, the same in the whole fleet: 60 for 10,000. 1.5 in silence: gone."""
    pause_s: Positive = 1.0
    """Seconds between two words at least, whatever changes."""
    skew_s: Positive = 30.0
    """Seconds by which a peer's clock may be off; messages beyond it are refused and held against it."""
    devices: OneOrMore = 256
    """Most devices the roster has room for."""
    capabilities: tuple[Text, ...] = ()
    """What the device can do, as the roles of objectives ask for it."""
    capacity: Count = 1
    """Units of work it can take on, as the roles of objectives ask for it."""
    place: str = ""
    """Where it is: a place name, levels separated by ``/``, e.g. campus/b1/floor2."""
    at_m: tuple[float, float] | None = None
    """Where it is, instead: x and y in the fleet's own plane, metres."""
    lat_lon: tuple[float, float] | None = None
    """Where it is, instead: latitude and longitude in degrees."""
    h3: str = ""
    """Where it is, instead: an H3 cell index in hexadecimal."""
    period_s: Positive = 1.0
    """Seconds of a fleet tick, the same in the whole fleet; clocks must agree to half of it."""
    window: Window = 32
    """Fleet ticks within which evidence may be late; what is later is lost, and counted."""
    worthwhile_nats: NotNegative = 0.0
    """Evidence is held back while all of it together would change a belief by no more than this."""
    records_a_tick: OneOrMore = 16
    """Most pieces of evidence the device sends in a fleet tick."""
    room_kb: Count = 0
    """KiB kept free for populations of other devices; 0 takes none in."""
    key_file: str = ""
    """This device's secret key (``edge-convert keygen``): signs the beliefs of populations it lends."""
    keys: dict[str, Text] = field(default_factory=dict)
    """Device name → its public key file: whose populations are taken in, and to whom ours are lent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleConfig:
    """A place in a coalition for one device."""

    __pydantic_config__ = CHECKED

    name: Text
    """Name of the role, unique in its objective."""
    capability: Text
    """What its holder must be able to do."""
    demand: OneOrMore = 1
    """Capacity it takes."""
    weight: OneOrMore = 1
    """Its share of the objective's worth."""
    required: bool = True
    """Whether the objective is worth nothing without it."""
    preferences: dict[str, tuple[float, ...]] = field(default_factory=dict)
    """Modality → log-preferences (nats, one an outcome) added to its holder's while the coalition lives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectiveConfig:
    """Something worth doing together; the same text on every device of the fleet."""

    __pydantic_config__ = CHECKED

    name: Text
    """Name of the objective, unique."""
    priority: OneOrMore = 1
    """The most urgent is served first."""
    place: str = ""
    """Where it is, as in ``peers``; nowhere: anywhere."""
    at_m: tuple[float, float] | None = None
    """Where it is, instead: x and y, metres."""
    lat_lon: tuple[float, float] | None = None
    """Where it is, instead: latitude and longitude in degrees."""
    h3: str = ""
    """Where it is, instead: an H3 cell index in hexadecimal."""
    reach: NotNegative | None = None
    """How far members may be: metres, degrees, or levels up in a place or H3 cell; any if missing."""
    role: Annotated[tuple[RoleConfig, ...], NotEmpty]
    """Its roles."""
    synergy: tuple[tuple[str, str, int], ...] = ()
    """Rows [role, role, weight]: worth added where both are filled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareConfig:
    """A hidden factor that agents of several devices look at: what they see of it adds up."""

    __pydantic_config__ = CHECKED

    factor: Text
    """Name of the factor in the bundle, or its number."""
    channel: Text = "{agent}"
    """What is shared under one name is one thing; {agent}, {index} and {population} are filled in. Without
    a field all agents of the population look at the same thing."""
    controller: str = ""
    """Which device's action moves the factor, if one does: that of its first agent on the channel."""


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
