"""What stands in the bodies of our messages, as tables that readers check against and docs/protocol.md is
made of.

Theory of operation. A schema maps keys to fields: type, whether it must be there, unit, meaning. `check`
refuses a body that lacks a required key or has a known key of another type; unknown keys pass, so that an
old reader understands a new writer. Types are msgpack's: a number that is whole may come as an int where
a float is meant.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edge_agent.errors import PeerError
from edge_agent.wire.messages import Body


@dataclass(frozen=True, slots=True)
class BodyField:
    """One key of a body. ``kind`` is bool, int, float, str, bytes, dict or list."""

    kind: type
    meaning: str
    required: bool = False
    unit: str = ""


Schema = Mapping[str, BodyField]

BIRTH: Schema = {
    "online": BodyField(bool, "false in the will and in the goodbye", required=True),
    "device": BodyField(str, "the device's name"),
    "version": BodyField(str, "version of edge-agent"),
    "boot": BodyField(str, "unique id of this start of the process"),
    "profile": BodyField(str, "the firmware profile it runs with"),
    "populations": BodyField(dict, "name → {bundle: digest (str), size: agents (int)}"),
    "incarnation": BodyField(int, "number of this connection: tells peers whose end a will announces"),
    "lost_state": BodyField(
        list,
        "lines (str), one for each file of kept state that could not be used at this start: its name, why, "
        "where it was put; missing if all is well",
    ),
}

TELEMETRY: Schema = {
    "populations": BodyField(
        dict, "name → counters since start: tick, steps, decisions, contradictions, missed, … (numbers)"
    ),
    "rss": BodyField(int, "resident memory of the daemon", unit="bytes"),
    "historical": BodyField(bool, "sent later than it was measured; false if missing"),
    "delta": BodyField(bool, "only what changed since the message before; false if missing"),
    "skipped": BodyField(
        list, "[first, last] ranges of sequence numbers that were thinned out on the device"
    ),
    "outbox": BodyField(str, "which outbox numbered it; another one starts again from 1"),
    "peers": BodyField(
        dict, "here, members, joined, left, refused, lost, duplicates, … (numbers); only where they changed"
    ),
    "samples": BodyField(
        dict,
        "a batch of measurements: names [str]; t0 (float, Unix seconds); series (bytes, uint16 LE, "
        "index into "
        "names); dt (bytes, uint32 LE, milliseconds since t0); values (bytes, float32 LE)",
    ),
}

REPORTED: Schema = {
    "version": BodyField(
        int, "version of the desired document that was last taken over; 0 is none", required=True
    ),
    "trust": BodyField(int, "version of the set of hub keys that is believed; 0 is the configured one"),
    "populations": BodyField(
        dict, "name → {bundle: digest (str), size: agents (int)}: what runs now", required=True
    ),
    "rollouts": BodyField(
        dict, "population → {bundle: digest, stage: str, reason: str, blocks: had (int), of: blocks (int)}"
    ),
    "refused": BodyField(dict, "the last document not taken over: {version: int, reason: str}"),
    "parameters": BodyField(dict, "name → value in force"),
}

STATE: Schema = {
    "rss": BodyField(int, "resident memory of the daemon", required=True, unit="bytes"),
    "rung": BodyField(str, "the governor's rung: full, or what it does without", required=True),
    "backlog": BodyField(int, "telemetry that waits in the outbox", required=True, unit="bytes"),
    "populations": BodyField(dict, "name → agents and the counters of up/telemetry (numbers)", required=True),
}

ANNOUNCEMENT: Schema = {
    "device": BodyField(
        dict, "identifiers, name, manufacturer, model (the profile), sw_version", required=True
    ),
    "origin": BodyField(dict, "name and sw_version of edge-agent", required=True),
    "components": BodyField(
        dict,
        "id → a sensor: what it shows of up/state; one with its platform alone is removed",
        required=True,
    ),
    "state_topic": BodyField(str, "up/state of the device", required=True),
    "qos": BodyField(int, "of the state", required=True),
}

SIGNED: Schema = {
    "doc": BodyField(bytes, "the document: canonical JSON (sorted keys, no blanks, ASCII)", required=True),
    "signatures": BodyField(
        list,
        "each {key: public key (bytes, 32), signature: Ed25519 over PURPOSE NUL doc (bytes, 64)}",
        required=True,
    ),
    "rotations": BodyField(
        list, "signed documents of purpose 'keys', oldest first, each signed by the keys before it"
    ),
}

DESIRED: Schema = {
    "fleet": BodyField(str, "the fleet it is for", required=True),
    "device": BodyField(str, "the device it is for", required=True),
    "version": BodyField(int, "only goes up", required=True),
    "issued": BodyField(float, "when it was signed", required=True, unit="Unix s"),
    "expires": BodyField(float, "after this it must not be taken over", required=True, unit="Unix s"),
    "bundles": BodyField(
        dict,
        "digest → {name: str, size: bytes (int), block: bytes a block (int), blocks: [SHA-256 in hex], "
        "url: str "
        "(optional: fetched from there instead)}",
    ),
    "populations": BodyField(
        dict,
        "name → {bundle: digest (str), config: what a new population is made of (dict, optional)}: what "
        "should run",
    ),
    "parameters": BodyField(dict, "name → value, e.g. telemetry_seconds"),
    "gates": BodyField(dict, "name → limit that shadow run or trial must keep, a number of 0 or more"),
}

GATES: Schema = {
    "shadow_seconds": BodyField(float, "how long it runs beside the old one; 60 if not given", unit="s"),
    "trial_seconds": BodyField(float, "how long it acts before it is kept; 300 if not given", unit="s"),
    "steps": BodyField(float, "fewest agent-steps that a verdict needs; 100 if not given"),
    "agreement": BodyField(float, "least share of equal actions in the shadow run; 0 if not given"),
    "missed_rate": BodyField(float, "most missed deadlines a tick; 0.01 if not given"),
    "contradiction_rate": BodyField(float, "most contradictions an agent-step; 0.05 if not given"),
    "free_energy_rise": BodyField(
        float, "most free energy a step above the old one's; 1 if not given", unit="nat"
    ),
    "memory": BodyField(
        float, "most the daemon may take; 0 leaves it to its plan; 0 if not given", unit="bytes"
    ),
}

KEYS: Schema = {
    "fleet": BodyField(str, "the fleet it is for", required=True),
    "version": BodyField(int, "only goes up", required=True),
    "keys": BodyField(list, "public keys in hex (64 digits)", required=True),
    "threshold": BodyField(int, "how many of them must sign", required=True),
}

COMMAND: Schema = {
    "fleet": BodyField(str, "the fleet it is for", required=True),
    "device": BodyField(str, "the device it is for", required=True),
    "id": BodyField(str, "unique; a device obeys an id once", required=True),
    "name": BodyField(str, "status, reset, set-rate, record, replay-window or reload", required=True),
    "arguments": BodyField(dict, "by command"),
    "expires": BodyField(
        float, "after this it is refused; at most a day ahead", required=True, unit="Unix s"
    ),
}

REPLY: Schema = {
    "id": BodyField(str, "the command's id", required=True),
    "ok": BodyField(bool, "whether it was carried out", required=True),
    "reason": BodyField(str, "why not"),
    "result": BodyField(dict, "by command"),
}

CONFIRM: Schema = {
    "outbox": BodyField(str, "which outbox numbered it", required=True),
    "ranges": BodyField(list, "[first, last] ranges of sequence numbers", required=True),
}

FETCH: Schema = {
    "bundle": BodyField(str, "digest of the bundle", required=True),
    "blocks": BodyField(list, "indices of the blocks asked for, in order", required=True),
}

BLOCK: Schema = {
    "bundle": BodyField(str, "digest of the bundle", required=True),
    "index": BodyField(int, "which block", required=True),
    "data": BodyField(
        bytes, "at most 131072 bytes; its SHA-256 stands in the desired document", required=True
    ),
}


def check(schema: Schema, body: Mapping[str, Any], what: str) -> None:
    """Check a body; ``what`` names it in the message.

    Raises
    ------
    PeerError
        A required key is missing or a known key has another type.
    """
    for key, field in schema.items():
        if key not in body:
            if field.required:
                raise PeerError(f"{what}: {key} is missing")
        elif not _fits(body[key], field.kind):
            raise PeerError(f"{what}: {key} is {type(body[key]).__name__}, expected {field.kind.__name__}")


def _fits(value: object, kind: type) -> bool:
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


def birth(
    online: bool,
    device: str,
    version: str,
    boot: str,
    profile: str,
    populations: Mapping[str, tuple[str, int]],
    incarnation: int | None = None,
) -> Body:
    """Return a birth body; ``populations`` maps names to (bundle digest, agents)."""
    body: Body = {
        "online": online,
        "device": device,
        "version": version,
        "boot": boot,
        "profile": profile,
        "populations": {n: {"bundle": digest, "size": size} for n, (digest, size) in populations.items()},
    }
    return body if incarnation is None else body | {"incarnation": incarnation}
