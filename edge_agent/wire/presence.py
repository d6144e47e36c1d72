"""The body of ``peer/DEVICE/presence``: a device's roster entry, retained, repeated at each heartbeat.

All numbers are integers, so that every device that reads an entry computes the same from it.

================  ==========================================================================  =======
key               meaning                                                                     default
================  ==========================================================================  =======
``device``        name of the device; must equal the name in the topic                        required
``incarnation``   number of the connection; increases with each, over restarts too            required
``leaving``       1: the device is leaving                                                    0
``caps``          capabilities, texts                                                         none
``pos``           ``{place}`` or ``{x, y}`` mm or ``{lat, lon}`` 1e-7 degrees or ``{h3}``       none
``capacity``      units of work it can take on                                                0
``battery``       charge in percent; 100 on mains power                                       100
``room``          bytes of its budget available to populations of other devices               0
``bundles``       digests of the bundles it has (first 8 bytes)                               none
``plan``          digest of all coalitions that it computed (8 bytes)                         empty
``holds``         digests of the coalitions it is a member of (8 bytes each)                  none
``accounts``      rows ``[device, kept, broken]``: promises of other devices that it observed  none
================  ==========================================================================  =======

``seq`` of the envelope orders the entries of one incarnation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from edge_agent.errors import ConfigError, PeerError
from edge_agent.wire import fields
from edge_agent.wire.messages import Body
from edge_agent.wire.topics import check_name

DIGEST_BYTES = 8
MAX_CAPABILITIES = 64
MAX_HOLDS = 64
MAX_BUNDLES = 64
MAX_ACCOUNTS = 64
MAX_TEXT = 64
MAX_PLACE = 256
MAX_COUNT = 2**31 - 1
EXTENT_MM = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Place:
    """A place by name, levels separated by ``/``: ``campus/b1/floor2/room3``."""

    name: str


@dataclass(frozen=True, slots=True)
class Metric:
    """A place in the fleet's own plane, millimetres."""

    x: int
    y: int


@dataclass(frozen=True, slots=True)
class Geographic:
    """WGS 84 latitude and longitude in units of 1e-7 degree (11 mm)."""

    lat: int
    lon: int


@dataclass(frozen=True, slots=True)
class Hexagon:
    """An H3 cell index. Its own device computes it; all others use its bits alone."""

    index: int


Position = Place | Metric | Geographic | Hexagon | None


@dataclass(frozen=True, slots=True)
class Presence:
    """One roster entry. ``capabilities`` and ``bundles`` are sorted and hold no item twice."""

    device: str
    incarnation: int
    seq: int = 0
    leaving: bool = False
    capabilities: tuple[str, ...] = ()
    position: Position = None
    capacity: int = 0
    battery: int = 100
    room: int = 0
    bundles: tuple[bytes, ...] = ()
    plan: bytes = b""
    holds: tuple[bytes, ...] = ()
    accounts: tuple[tuple[str, int, int], ...] = ()


def to_body(entry: Presence) -> Body:
    """Return the body of a presence message; ``seq`` goes into the envelope. Defaults are left out."""
    body: Body = {"device": entry.device, "incarnation": entry.incarnation}
    optional: Body = {
        "leaving": int(entry.leaving),
        "caps": list(entry.capabilities),
        "pos": _position_body(entry.position),
        "capacity": entry.capacity,
        "room": entry.room,
        "bundles": list(entry.bundles),
        "plan": entry.plan,
        "holds": list(entry.holds),
        "accounts": [list(account) for account in entry.accounts],
    }
    body |= {key: value for key, value in optional.items() if value}
    if entry.battery != 100:
        body["battery"] = entry.battery
    return body


def from_body(body: Mapping[Any, Any], seq: int) -> Presence:
    """Return the entry in a presence message.

    Raises
    ------
    PeerError
        A field is missing, of another type or out of range.
    """
    return Presence(
        device=_name("device", body.get("device")),
        incarnation=fields.integer(body, "incarnation", 0, 2**63 - 1),
        seq=fields.check_integer("seq", seq, 0, 2**63 - 1),
        leaving=fields.integer(body, "leaving", 0, 1, 0) == 1,
        capabilities=tuple(
            sorted(
                {
                    fields.check_text("caps", c, MAX_TEXT)
                    for c in fields.sequence(body, "caps", MAX_CAPABILITIES)
                }
            )
        ),
        position=_position(fields.mapping(body, "pos")),
        capacity=fields.integer(body, "capacity", 0, MAX_COUNT, 0),
        battery=fields.integer(body, "battery", 0, 100, 100),
        room=fields.integer(body, "room", 0, 2**62, 0),
        bundles=tuple(sorted(set(_digests(body, "bundles", MAX_BUNDLES)))),
        plan=fields.blob(body, "plan", 0, DIGEST_BYTES, b""),
        holds=tuple(sorted(set(_digests(body, "holds", MAX_HOLDS)))),
        accounts=_accounts(fields.sequence(body, "accounts", MAX_ACCOUNTS)),
    )


def _name(key: str, value: Any) -> str:
    try:
        return _checked(fields.check_text(key, value, MAX_TEXT))
    except ConfigError as error:
        raise PeerError(f"{key}: {error}") from error


@lru_cache(maxsize=16384)  # the names of a fleet come again with every heartbeat, in everybody's accounts
def _checked(name: str) -> str:
    return check_name(name, "name")


def _digests(body: Mapping[Any, Any], key: str, longest: int) -> list[bytes]:
    return [
        fields.check_blob(key, d, DIGEST_BYTES, DIGEST_BYTES) for d in fields.sequence(body, key, longest)
    ]


def _accounts(items: Sequence[Any]) -> tuple[tuple[str, int, int], ...]:
    """Return the rows; most of what a heartbeat holds, so those that are right take a short way."""
    found = []
    for item in items:
        if type(item) is list and len(item) == 3:
            device, kept, broken = item
            right = type(device) is str and type(kept) is int and type(broken) is int
            if right and 0 <= kept <= MAX_COUNT and 0 <= broken <= MAX_COUNT:
                found.append((_name("accounts", device), kept, broken))
                continue
        found.append(_account(item))
    return tuple(found)


def _account(item: Any) -> tuple[str, int, int]:
    device, kept, broken, *_ = fields.row("accounts", item, 3)
    return (
        _name("accounts", device),
        fields.check_integer("accounts", kept, 0, MAX_COUNT),
        fields.check_integer("accounts", broken, 0, MAX_COUNT),
    )


def _position_body(position: Position) -> Body:
    match position:
        case Place(name):
            return {"place": name}
        case Metric(x, y):
            return {"x": x, "y": y}
        case Geographic(lat, lon):
            return {"lat": lat, "lon": lon}
        case Hexagon(index):
            return {"h3": index}
        case None:
            return {}


def _position(body: Mapping[Any, Any]) -> Position:
    if "place" in body:
        return Place(fields.text(body, "place", MAX_PLACE))
    if "x" in body or "y" in body:
        x, y = (fields.integer(body, key, -EXTENT_MM, EXTENT_MM) for key in ("x", "y"))
        return Metric(x, y)
    if "lat" in body or "lon" in body:
        lat = fields.integer(body, "lat", -900_000_000, 900_000_000)
        return Geographic(lat, fields.integer(body, "lon", -1_800_000_000, 1_800_000_000))
    if "h3" in body:
        return Hexagon(fields.integer(body, "h3", 0, 2**63 - 1))
    return None
