"""What stands in the bodies of our messages, as tables that readers check against and docs/protocol.md is
made of.

Theory of operation. A schema maps keys to fields: type, bounds, whether it must be there, unit, meaning, and
what is inside. ``wire.body_checks`` holds bodies against them. Types are msgpack's: a number that is whole
may come as an int where a float is meant.
"""

from __future__ import annotations

from collections.abc import Mapping

from edge_agent.wire.body_checks import MAX_COUNT, Field, Schema, check
from edge_agent.wire.messages import Body

__all__ = ["Field", "Schema", "birth", "check"]

MAX_VERSION = 2**62
"""The most a version of a document may be: the next one still fits."""
MAX_BLOCKS = 2**31 - 1

_COUNTER = Field(float, "a counter since start", least=-MAX_COUNT, most=MAX_COUNT)
_TEXT = Field(str, "a text")
_RANGES = Field(list, "[first, last]", least=2, most=2, each=Field(int, "a number", least=0, most=MAX_COUNT))
_RUNNING = Field(
    dict,
    "what runs",
    inside={
        "bundle": Field(str, "digest"),
        "size": Field(int, "agents", least=0, most=2**31 - 1),
    },
)
_SIGNATURES = Field(
    dict,
    "a signature",
    inside={
        "key": Field(bytes, "public key", required=True),
        "signature": Field(bytes, "Ed25519", required=True),
    },
)

BIRTH: Schema = {
    "online": Field(bool, "false in the will and in the goodbye", required=True),
    "device": Field(str, "the device's name"),
    "version": Field(str, "version of edge-agent"),
    "boot": Field(str, "unique id of this start of the process"),
    "profile": Field(str, "the firmware profile it runs with"),
    "populations": Field(dict, "name → {bundle: digest (str), size: agents (int)}", each=_RUNNING),
    "incarnation": Field(
        int, "number of this connection: tells peers whose end a will announces", least=0, most=MAX_COUNT
    ),
    "rss": Field(
        int, "resident memory of the daemon when it connected", unit="bytes", least=0, most=MAX_COUNT
    ),
}

TELEMETRY: Schema = {
    "populations": Field(
        dict,
        "name → counters since start: tick, steps, decisions, contradictions, missed, … (numbers)",
        each=Field(dict, "counters", each=_COUNTER),
    ),
    "rss": Field(int, "resident memory of the daemon", unit="bytes", least=0, most=MAX_COUNT),
    "historical": Field(bool, "sent later than it was measured; false if missing"),
    "delta": Field(bool, "only what changed since the message before; false if missing"),
    "skipped": Field(
        list, "[first, last] ranges of sequence numbers that were thinned out on the device", each=_RANGES
    ),
    "outbox": Field(str, "which outbox numbered it; another one starts again from 1"),
    "peers": Field(
        dict,
        "here, members, joined, left, refused, lost, duplicates, … (numbers); only where they changed",
        each=_COUNTER,
    ),
    "samples": Field(
        dict,
        "a batch of measurements: names [str]; t0 (float, Unix seconds); series (bytes, uint16 LE, "
        "index into "
        "names); dt (bytes, uint32 LE, milliseconds since t0); values (bytes, float32 LE)",
        inside={
            "names": Field(list, "of measurements", each=_TEXT),
            "t0": Field(float, "Unix time"),
            "series": Field(bytes, "indices"),
            "dt": Field(bytes, "milliseconds"),
            "values": Field(bytes, "figures"),
        },
    ),
}

REPORTED: Schema = {
    "version": Field(
        int,
        "version of the desired document that was last taken over; 0 is none",
        required=True,
        least=0,
        most=MAX_VERSION,
    ),
    "trust": Field(
        int,
        "version of the set of hub keys that is believed; 0 is the configured one",
        least=0,
        most=MAX_VERSION,
    ),
    "populations": Field(
        dict,
        "name → {bundle: digest (str), size: agents (int)}: what runs now",
        required=True,
        each=_RUNNING,
    ),
    "rollouts": Field(
        dict,
        "population → {bundle: digest, stage: str, reason: str, blocks: had (int), of: blocks (int)}",
        each=Field(
            dict,
            "one rollout",
            inside={
                "bundle": Field(str, "digest"),
                "stage": Field(str, "of the rollout"),
                "reason": Field(str, "why it ended"),
                "blocks": Field(int, "had", least=0, most=MAX_COUNT),
                "of": Field(int, "blocks", least=0, most=MAX_COUNT),
            },
        ),
    ),
    "refused": Field(
        dict,
        "the last document not taken over: {version: int, reason: str}",
        inside={
            "version": Field(int, "of the document", least=-MAX_COUNT, most=MAX_COUNT),
            "reason": Field(str, "why"),
        },
    ),
    "parameters": Field(dict, "name → value in force"),
}

STATE: Schema = {
    "rss": Field(int, "resident memory of the daemon", required=True, unit="bytes"),
    "rung": Field(str, "the governor's rung: full, or what it does without", required=True),
    "backlog": Field(int, "telemetry that waits in the outbox", required=True, unit="bytes"),
    "populations": Field(dict, "name → agents and the counters of up/telemetry (numbers)", required=True),
}

ANNOUNCEMENT: Schema = {
    "device": Field(dict, "identifiers, name, manufacturer, model (the profile), sw_version", required=True),
    "origin": Field(dict, "name and sw_version of edge-agent", required=True),
    "components": Field(
        dict,
        "id → a sensor: what it shows of up/state; one with its platform alone is removed",
        required=True,
    ),
    "state_topic": Field(str, "up/state of the device", required=True),
    "qos": Field(int, "of the state", required=True),
}

SIGNED: Schema = {
    "doc": Field(bytes, "the document: canonical JSON (sorted keys, no blanks, ASCII)", required=True),
    "signatures": Field(
        list,
        "each {key: public key (bytes, 32), signature: Ed25519 over PURPOSE NUL doc (bytes, 64)}",
        required=True,
        each=_SIGNATURES,
    ),
    "rotations": Field(
        list,
        "signed documents of purpose 'keys', oldest first, each signed by the keys before it",
        each=Field(
            dict,
            "a signed document",
            inside={
                "doc": Field(bytes, "the document", required=True),
                "signatures": Field(list, "of it", required=True, each=_SIGNATURES),
            },
        ),
    ),
}

DESIRED: Schema = {
    "fleet": Field(str, "the fleet it is for", required=True),
    "device": Field(str, "the device it is for", required=True),
    "version": Field(int, "only goes up", required=True, least=0, most=MAX_VERSION),
    "issued": Field(float, "when it was signed", required=True, unit="Unix s"),
    "expires": Field(float, "after this it must not be taken over", required=True, unit="Unix s"),
    "bundles": Field(
        dict,
        "digest → {name: str, size: bytes (int), block: bytes a block (int), blocks: [SHA-256 in hex], "
        "url: str "
        "(optional: fetched from there instead)}",
        each=Field(
            dict,
            "one bundle",
            inside={
                "name": Field(str, "of the bundle"),
                "size": Field(int, "bytes", least=0, most=MAX_COUNT),
                "block": Field(int, "bytes of a block", least=0, most=MAX_COUNT),
                "blocks": Field(list, "SHA-256 in hex", each=_TEXT),
                "url": Field(str, "where it is"),
            },
        ),
    ),
    "populations": Field(
        dict,
        "name → {bundle: digest (str), config: what a new population is made of (dict, optional)}: what "
        "should run",
        each=Field(
            dict,
            "one population",
            inside={
                "bundle": Field(str, "digest"),
                "config": Field(dict, "what a new population is made of"),
            },
        ),
    ),
    "parameters": Field(dict, "name → value, e.g. telemetry_seconds"),
    "gates": Field(
        dict,
        "name → limit that shadow run or trial must keep, a number of 0 or more",
        each=Field(float, "a limit"),
    ),
}

GATES: Schema = {
    "shadow_seconds": Field(float, "how long it runs beside the old one; 60 if not given", unit="s"),
    "trial_seconds": Field(float, "how long it acts before it is kept; 300 if not given", unit="s"),
    "steps": Field(float, "fewest agent-steps that a verdict needs; 100 if not given"),
    "agreement": Field(float, "least share of equal actions in the shadow run; 0 if not given"),
    "missed_rate": Field(float, "most missed deadlines a tick; 0.01 if not given"),
    "contradiction_rate": Field(float, "most contradictions an agent-step; 0.05 if not given"),
    "free_energy_rise": Field(
        float, "most free energy a step above the old one's; 1 if not given", unit="nat"
    ),
    "memory": Field(float, "most the daemon may take; 0 leaves it to its plan; 0 if not given", unit="bytes"),
}

KEYS: Schema = {
    "fleet": Field(str, "the fleet it is for", required=True),
    "version": Field(int, "only goes up", required=True, least=0, most=MAX_VERSION),
    "keys": Field(list, "public keys in hex (64 digits)", required=True, each=_TEXT),
    "threshold": Field(int, "how many of them must sign", required=True, least=0, most=MAX_COUNT),
}

COMMAND: Schema = {
    "fleet": Field(str, "the fleet it is for", required=True),
    "device": Field(str, "the device it is for", required=True),
    "id": Field(str, "unique; a device obeys an id once", required=True),
    "name": Field(str, "status, reset, set-rate, record, replay-window or reload", required=True),
    "arguments": Field(dict, "by command"),
    "expires": Field(float, "after this it is refused; at most a day ahead", required=True, unit="Unix s"),
}

REPLY: Schema = {
    "id": Field(str, "the command's id", required=True),
    "ok": Field(bool, "whether it was carried out", required=True),
    "reason": Field(str, "why not"),
    "result": Field(dict, "by command"),
}

CONFIRM: Schema = {
    "outbox": Field(str, "which outbox numbered it", required=True),
    "ranges": Field(list, "[first, last] ranges of sequence numbers", required=True, each=_RANGES),
}

FETCH: Schema = {
    "bundle": Field(str, "digest of the bundle", required=True),
    "blocks": Field(
        list,
        "indices of the blocks asked for, in order",
        required=True,
        each=Field(int, "index", least=0, most=MAX_BLOCKS),
    ),
}

BLOCK: Schema = {
    "bundle": Field(str, "digest of the bundle", required=True),
    "index": Field(int, "which block", required=True, least=0, most=MAX_BLOCKS),
    "data": Field(
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
