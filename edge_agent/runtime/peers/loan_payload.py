"""The payload of a loan: inputs, outputs and beliefs of the lent population, signed together.

Theory of operation. A borrower has the bundle, but not the topics and templates of the owner. The payload
contains them, with the population's name filled in. On arrival they are checked like a configuration file,
since a signed payload can still be wrong. Only populations that can move are lent: sensors and actuators on
MQTT, no bulk arrays (their topics belong to the owner), no shared factors.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import msgpack

from edge_agent.config.records import ActConfig, AvailabilityConfig, ObserveConfig, PopulationConfig
from edge_agent.config.templates import check_fields
from edge_agent.errors import ConfigError, PeerError
from edge_agent.runtime.population.counters import GroupCounters
from edge_agent.wire import fields
from edge_agent.wire.population_topics import check_population_topics
from edge_agent.wire.topics import check_name

if TYPE_CHECKING:
    from edge_agent.runtime.population.group import Group

MAX_BYTES = 4 * 1024 * 1024
MAX_AGENTS = 1_000_000
MAX_ENTRIES = 64
MAX_TEXT = 1024
_PLACES = frozenset({"agent", "index"})
_OBSERVE = (
    "modality",
    "topic",
    "pointer",
    "scale",
    "offset",
    "stale_s",
    "silence",
    "reduce",
    "stamp",
    "values",
    "wakes",
    "availability",
)
_ACT = ("control", "topic", "template", "qos", "retain", "on_change", "safe", "values", "dwell_s", "margin")


@dataclass(frozen=True, slots=True)
class LoanPayload:
    """A population on its way. ``config`` names no bundle and has its owner's name for the population."""

    config: PopulationConfig
    counters: GroupCounters
    beliefs: bytes


def movable(config: PopulationConfig) -> bool:
    """Whether another device could run the population."""
    senses = all(entry.source == "mqtt" and not entry.spreads for entry in config.observe)
    acts = all(entry.sink == "mqtt" for entry in config.act)
    return senses and acts and not config.bulk and not config.share and config.learn == "off"


def pack(group: Group) -> bytes:
    """Return the loan payload of a population as it is now."""
    config = group.config
    agents = config.agents
    content = {
        "v": 1,
        "name": config.name,
        "size": len(group.names),
        "agents": _filled(agents, config.name) if isinstance(agents, str) else list(agents),
        "seed": config.seed,
        "step": config.step,
        "rate_hz": group.rate_hz,
        "tick": config.tick,
        "history_kb": config.history_kb,
        "observe": [_row(entry, _OBSERVE, config.name) for entry in config.observe],
        "act": [_row(entry, _ACT, config.name) for entry in config.act],
        "counters": asdict(group.counters),
        "beliefs": group.model_port.checkpoint(),
    }
    return zlib.compress(msgpack.packb(content), 1)


def unpack(data: bytes) -> LoanPayload:
    """Return the population in a loan payload.

    Raises
    ------
    PeerError
        It is damaged, too long, or says what no configuration may.
    """
    try:
        opened = zlib.decompressobj()
        content = msgpack.unpackb(opened.decompress(data, 16 * MAX_BYTES))
    except (zlib.error, ValueError, TypeError, msgpack.UnpackException) as error:
        raise PeerError(f"loan payload: not one ({type(error).__name__})") from error
    if not isinstance(content, dict) or opened.unconsumed_tail:
        raise PeerError("loan payload: found something else, expected a population")
    try:
        return _loan_payload(content)
    except (ConfigError, TypeError) as error:
        raise PeerError(f"loan payload: {error}") from error


def _loan_payload(content: Mapping[str, Any]) -> LoanPayload:
    agents = content.get("agents")
    if isinstance(agents, str):
        check_fields(agents, "agents", {"index"})
    else:
        agents = tuple(fields.check_text("agents", name, MAX_TEXT) for name in agents or ())
    config = PopulationConfig(
        name=check_name(fields.text(content, "name", 64), "name"),
        bundle="",
        size=fields.integer(content, "size", 1, MAX_AGENTS),
        agents=agents,
        seed=fields.integer(content, "seed", 0, 2**63 - 1),
        step=_one_of(content, "step", ("rate", "arrival", "change")),
        rate_hz=_number(content, "rate_hz", 1e-6, 1000.0),
        tick=_one_of(content, "tick", ("bundle", "ignore", "arrival")) if "tick" in content else "ignore",
        history_kb=fields.integer(content, "history_kb", 0, 1 << 20),
        observe=tuple(_observe(row) for row in fields.sequence(content, "observe", MAX_ENTRIES)),
        act=tuple(_act(row) for row in fields.sequence(content, "act", MAX_ENTRIES)),
    )
    if not isinstance(config.agents, str) and len(config.agents) != config.size:
        raise PeerError(f"agents: found {len(config.agents)}, expected {config.size}")
    entries = {"observe": [asdict(e) for e in config.observe], "act": [asdict(e) for e in config.act]}
    check_population_topics({"agents": config.agents, "size": config.size, **entries}, config.name)
    known = fields.mapping(content, "counters")
    counters = GroupCounters(**{key: fields.integer(known, key, 0, 2**63 - 1) for key in known})
    return LoanPayload(config, counters, fields.blob(content, "beliefs", 0, 16 * MAX_BYTES))


def _observe(row: Any) -> ObserveConfig:
    entry = fields.mapping({"observe": row}, "observe")
    topic = fields.text(entry, "topic", MAX_TEXT)
    check_fields(topic, "observe.topic", _PLACES)
    return ObserveConfig(
        modality=fields.text(entry, "modality", MAX_TEXT),
        topic=topic,
        pointer=fields.text(entry, "pointer", MAX_TEXT),
        scale=_number(entry, "scale", -1e12, 1e12),
        offset=_number(entry, "offset", -1e12, 1e12),
        stale_s=_number(entry, "stale_s", 1e-6, 1e12),
        silence=_silence(entry),
        reduce=_one_of(entry, "reduce", ("mean", "max", "last")) if "reduce" in entry else "last",
        stamp=fields.text(entry, "stamp", MAX_TEXT) if "stamp" in entry else "",
        values=_values(entry),
        wakes=_flag(entry, "wakes"),
        availability=tuple(
            _availability(source) for source in fields.sequence(entry, "availability", MAX_ENTRIES)
        )
        if "availability" in entry
        else (),
    )


def _act(row: Any) -> ActConfig:
    entry = fields.mapping({"act": row}, "act")
    topic, template = (fields.text(entry, key, MAX_TEXT) for key in ("topic", "template"))
    check_fields(topic, "act.topic", _PLACES)
    check_fields(template, "act.template", _PLACES | {"value", "action"})
    return ActConfig(
        control=fields.text(entry, "control", MAX_TEXT),
        topic=topic,
        template=template,
        qos=1 if fields.integer(entry, "qos", 0, 1) else 0,
        retain=entry.get("retain") is True,
        on_change=entry.get("on_change") is True,
        safe=fields.text(entry, "safe", MAX_TEXT),
        values=_values(entry),
        dwell_s=None if entry.get("dwell_s") is None else _number(entry, "dwell_s", 0.0, 1e12),
        margin=None if entry.get("margin") is None else _number(entry, "margin", 0.0, 1.0),
    )


def _availability(row: Any) -> AvailabilityConfig:
    source = fields.mapping({"availability": row}, "availability")
    topic = fields.text(source, "topic", MAX_TEXT)
    check_fields(topic, "observe.availability.topic", _PLACES)
    return AvailabilityConfig(
        topic=topic,
        pointer=fields.text(source, "pointer", MAX_TEXT),
        value=_value("availability.value", source.get("value")),
    )


def _values(entry: Mapping[str, Any]) -> dict[str, str | bool | int | float]:
    """Return ``values``; loans of older devices have none."""
    found = entry.get("values", {})
    if not isinstance(found, dict) or len(found) > MAX_ENTRIES:
        raise PeerError(f"values: found {type(found).__name__}, expected at most {MAX_ENTRIES} of them")
    return {
        fields.check_text("values", key, MAX_TEXT): _value(f"values.{key}", value)
        for key, value in found.items()
    }


def _value(key: str, value: Any) -> str | bool | int | float:
    long = isinstance(value, str) and len(value) > MAX_TEXT
    if long or not isinstance(value, str | bool | int | float):
        raise PeerError(f"{key}: found {type(value).__name__}, expected a short text, a number or a boolean")
    return value


def _silence(entry: Mapping[str, Any]) -> Literal["unknown", "unchanged"] | None:
    """Return ``silence``; older devices say whether values are held."""
    if "silence" not in entry:
        return "unchanged" if entry.get("hold") is True else "unknown"
    if entry["silence"] is None:
        return None
    found: Literal["unknown", "unchanged"] = _one_of(entry, "silence", ("unknown", "unchanged"))
    return found


def _flag(entry: Mapping[str, Any], key: str) -> bool | None:
    value = entry.get(key)
    return value if isinstance(value, bool) else None


def _row(entry: ObserveConfig | ActConfig, keys: tuple[str, ...], population: str) -> dict[str, Any]:
    row = {key: value for key, value in asdict(entry).items() if key in keys}
    for source in row.get("availability", ()):
        source["topic"] = _filled(source["topic"], population)
    return {k: _filled(v, population) if k in ("topic", "template") else v for k, v in row.items()}


def _filled(text: str, population: str) -> str:
    return text.replace("{population}", population)


def _one_of(content: Mapping[str, Any], key: str, allowed: tuple[str, ...]) -> Any:
    value = content.get(key)
    if value not in allowed:
        raise PeerError(f"{key}: found {value!r}, expected one of {', '.join(allowed)}")
    return value


def _number(content: Mapping[str, Any], key: str, low: float, high: float) -> float:
    value = content.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise PeerError(f"{key}: found {value!r}, expected {low:g} to {high:g}")
    return float(value)


def renamed(config: PopulationConfig, owner: str, bundle: str, priority: int) -> PopulationConfig:
    """Return the configuration under which a borrower runs it.

    Raises
    ------
    ConfigError
        The two names together are too long for a topic level.
    """
    name = check_name(f"{owner}.{config.name}", "population")
    return replace(config, name=name, bundle=bundle, priority=priority)
