"""What stands in the bodies of our messages, as tables that readers check against and docs/protocol.md is
made of.

Theory of operation. A schema maps keys to fields: type, bounds, whether it must be there, unit, meaning, and
what is inside. ``wire.body_checks`` holds bodies against them. Types are msgpack's: a number that is whole
may come as an int where a float is meant.
"""

from __future__ import annotations

from collections.abc import Mapping

from edge_agent.wire.body_checks import MAX_COUNT, BodyField, Schema, check
from edge_agent.wire.messages import Body

__all__ = ["BodyField", "Schema", "birth", "check"]

MAX_VERSION = 2**62
"""The most a version of a document may be: the next one still fits."""
MAX_BLOCKS = 2**31 - 1

_COUNTER = BodyField(float, "a counter since start", least=-MAX_COUNT, most=MAX_COUNT)
_TEXT = BodyField(str, "a text")
_RANGES = BodyField(
    list, "[first, last]", least=2, most=2, each=BodyField(int, "a number", least=0, most=MAX_COUNT)
)
_RUNNING = BodyField(
    dict,
    "what runs",
    inside={
        "bundle": BodyField(str, "digest"),
        "size": BodyField(int, "agents", least=0, most=2**31 - 1),
    },
)
_SIGNATURES = BodyField(
    dict,
    "a signature",
    inside={
        "key": BodyField(bytes, "public key", required=True),
        "signature": BodyField(bytes, "Ed25519", required=True),
    },
)

BIRTH: Schema = {
    "online": BodyField(bool, "false in the will and in the goodbye", required=True),
    "device": BodyField(str, "the device's name"),
    "version": BodyField(str, "version of edge-agent"),
    "boot": BodyField(str, "unique id of this start of the process"),
    "profile": BodyField(str, "the firmware profile it runs with"),
    "populations": BodyField(
        dict,
        "name → {bundle: digest (str), size: agents (int)}; not in a will that would be longer than 65,535 "
        "bytes, MQTT's limit",
        each=_RUNNING,
    ),
    "incarnation": BodyField(
        int, "number of this connection: tells peers whose end a will announces", least=0, most=MAX_COUNT
    ),
    "lost_state": BodyField(
        list,
        "lines (str), one for each file of kept state that could not be used at this start: its name, why, "
        "where it was put; missing if all is well",
        each=BodyField(str, "line", most=1000),
    ),
    "rss": BodyField(
        int, "resident memory of the daemon when it connected", unit="bytes", least=0, most=MAX_COUNT
    ),
}

TELEMETRY: Schema = {
    "populations": BodyField(
        dict,
        "name → counters since start: tick, steps, decisions, contradictions, missed, … (numbers)",
        each=BodyField(dict, "counters", each=_COUNTER),
    ),
    "rss": BodyField(int, "resident memory of the daemon", unit="bytes", least=0, most=MAX_COUNT),
    "historical": BodyField(bool, "sent later than it was measured; false if missing"),
    "delta": BodyField(bool, "only what changed since the message before; false if missing"),
    "skipped": BodyField(
        list, "[first, last] ranges of sequence numbers that were thinned out on the device", each=_RANGES
    ),
    "outbox": BodyField(str, "which outbox numbered it; another one starts again from 1"),
    "peers": BodyField(
        dict,
        "here, members, joined, left, refused, lost, duplicates, … (numbers); only where they changed",
        each=_COUNTER,
    ),
    "broker": BodyField(
        dict,
        "what the device did not let in: overflow, too_long, oversize_disconnects (numbers); only where they "
        "changed",
        each=_COUNTER,
    ),
    "samples": BodyField(
        dict,
        "a batch of measurements: names [str]; t0 (float, Unix seconds); series (bytes, uint16 LE, "
        "index into "
        "names); dt (bytes, uint32 LE, milliseconds since t0); values (bytes, float32 LE)",
        inside={
            "names": BodyField(list, "of measurements", each=_TEXT),
            "t0": BodyField(float, "Unix time"),
            "series": BodyField(bytes, "indices"),
            "dt": BodyField(bytes, "milliseconds"),
            "values": BodyField(bytes, "figures"),
        },
    ),
}

REPORTED: Schema = {
    "version": BodyField(
        int,
        "version of the desired document that was last taken over; 0 is none",
        required=True,
        least=0,
        most=MAX_VERSION,
    ),
    "trust": BodyField(
        int,
        "version of the set of hub keys that is believed; 0 is the configured one",
        least=0,
        most=MAX_VERSION,
    ),
    "populations": BodyField(
        dict,
        "name → {bundle: digest (str), size: agents (int)}: what runs now",
        required=True,
        each=_RUNNING,
    ),
    "rollouts": BodyField(
        dict,
        "population → {bundle: digest, stage: str, reason: str, blocks: had (int), of: blocks (int)}",
        each=BodyField(
            dict,
            "one rollout",
            inside={
                "bundle": BodyField(str, "digest"),
                "stage": BodyField(str, "of the rollout"),
                "reason": BodyField(str, "why it ended"),
                "blocks": BodyField(int, "had", least=0, most=MAX_COUNT),
                "of": BodyField(int, "blocks", least=0, most=MAX_COUNT),
            },
        ),
    ),
    "refused": BodyField(
        dict,
        "the last document not taken over: {version: int, reason: str}",
        inside={
            "version": BodyField(int, "of the document", least=-MAX_COUNT, most=MAX_COUNT),
            "reason": BodyField(str, "why"),
        },
    ),
    "parameters": BodyField(dict, "name → value in force"),
}

STATE: Schema = {
    "online": BodyField(bool, "false in the last state before an orderly stop; true if missing"),
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
    "availability_topic": BodyField(str, "up/state of the device"),
    "availability_template": BodyField(str, "takes online out of the state"),
    "qos": BodyField(int, "of the state", required=True),
}

SIGNED: Schema = {
    "doc": BodyField(bytes, "the document: canonical JSON (sorted keys, no blanks, ASCII)", required=True),
    "signatures": BodyField(
        list,
        "each {key: public key (bytes, 32), signature: Ed25519 over PURPOSE NUL doc (bytes, 64)}",
        required=True,
        each=_SIGNATURES,
    ),
    "rotations": BodyField(
        list,
        "signed documents of purpose 'keys', oldest first, each signed by the keys before it",
        each=BodyField(
            dict,
            "a signed document",
            inside={
                "doc": BodyField(bytes, "the document", required=True),
                "signatures": BodyField(list, "of it", required=True, each=_SIGNATURES),
            },
        ),
    ),
}

DESIRED: Schema = {
    "fleet": BodyField(str, "the fleet it is for", required=True),
    "device": BodyField(str, "the device it is for", required=True),
    "version": BodyField(int, "only goes up", required=True, least=0, most=MAX_VERSION),
    "issued": BodyField(float, "when it was signed", required=True, unit="Unix s"),
    "expires": BodyField(float, "after this it must not be taken over", required=True, unit="Unix s"),
    "bundles": BodyField(
        dict,
        "digest → {name: str, size: bytes (int), block: bytes a block (int), blocks: [SHA-256 in hex], "
        "url: str "
        "(optional: fetched from there instead)}",
        each=BodyField(
            dict,
            "one bundle",
            inside={
                "name": BodyField(str, "of the bundle"),
                "size": BodyField(int, "bytes", least=0, most=MAX_COUNT),
                "block": BodyField(int, "bytes of a block", least=0, most=MAX_COUNT),
                "blocks": BodyField(list, "SHA-256 in hex", each=_TEXT),
                "url": BodyField(str, "where it is"),
            },
        ),
    ),
    "populations": BodyField(
        dict,
        "name → {bundle: digest (str), config: what a new population is made of (dict, optional)}: what "
        "should run",
        each=BodyField(
            dict,
            "one population",
            inside={
                "bundle": BodyField(str, "digest"),
                "config": BodyField(dict, "what a new population is made of"),
            },
        ),
    ),
    "parameters": BodyField(dict, "name → value, e.g. telemetry_seconds"),
    "gates": BodyField(
        dict,
        "name → limit that shadow run or trial must keep, a number of 0 or more",
        each=BodyField(float, "a limit"),
    ),
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
    "version": BodyField(int, "only goes up", required=True, least=0, most=MAX_VERSION),
    "keys": BodyField(list, "public keys in hex (64 digits)", required=True, each=_TEXT),
    "threshold": BodyField(int, "how many of them must sign", required=True, least=0, most=MAX_COUNT),
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
    "ranges": BodyField(list, "[first, last] ranges of sequence numbers", required=True, each=_RANGES),
}

FETCH: Schema = {
    "bundle": BodyField(str, "digest of the bundle", required=True),
    "blocks": BodyField(
        list,
        "indices of the blocks asked for, in order",
        required=True,
        each=BodyField(int, "index", least=0, most=MAX_BLOCKS),
    ),
}

BLOCK: Schema = {
    "bundle": BodyField(str, "digest of the bundle", required=True),
    "index": BodyField(int, "which block", required=True, least=0, most=MAX_BLOCKS),
    "data": BodyField(
        bytes,
        "at most 131072 bytes; its SHA-256 stands in the desired document",
        required=True,
        most=131_072,
    ),
}


def birth(
    online: bool,
    device: str,
    version: str,
    boot: str,
    profile: str,
    populations: Mapping[str, tuple[str, int]],
    incarnation: int | None = None,
    rss: int | None = None,
) -> Body:
    """Return a birth body; ``populations`` maps names to (bundle digest, agents), ``rss`` is in bytes."""
    body: Body = {
        "online": online,
        "device": device,
        "version": version,
        "boot": boot,
        "profile": profile,
        "populations": {n: {"bundle": digest, "size": size} for n, (digest, size) in populations.items()},
    }
    optional = {"incarnation": incarnation, "rss": rss}
    return body | {key: value for key, value in optional.items() if value is not None}
