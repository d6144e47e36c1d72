"""Schemas of the message bodies. Readers check bodies against them; docs/protocol.md is made of them.

Theory of operation. A schema maps keys to fields: type, bounds, whether the key is required, unit, meaning,
and the schema of its content. ``wire.body_checks`` checks bodies against them. Types are those of msgpack: an
integer is accepted where a float is expected.
"""

from __future__ import annotations

from collections.abc import Mapping

from edge_agent.wire.body_checks import MAX_COUNT, BodyField, Schema, check
from edge_agent.wire.messages import Body

__all__ = ["BodyField", "Schema", "birth", "check"]

MAX_VERSION = 2**62
"""Largest version of a document; the next one still fits the type."""
MAX_BLOCKS = 2**31 - 1

_COUNTER = BodyField(float, "a counter since start", least=-MAX_COUNT, most=MAX_COUNT)
_TEXT = BodyField(str, "a text")
RANGES = BodyField(
    list, "[first, last]", least=2, most=2, each=BodyField(int, "a number", least=0, most=MAX_COUNT)
)
_RUNNING = BodyField(
    dict,
    "a running population",
    inside={
        "bundle": BodyField(str, "digest"),
        "size": BodyField(int, "agents", least=0, most=2**31 - 1),
    },
)
_PROGRESS = BodyField(
    dict,
    "one rollout",
    inside={
        "bundle": BodyField(str, "digest"),
        "stage": BodyField(str, "of the rollout"),
        "reason": BodyField(str, "why it ended"),
        "blocks": BodyField(int, "had", least=0, most=MAX_COUNT),
        "of": BodyField(int, "blocks", least=0, most=MAX_COUNT),
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
    "boot": BodyField(str, "unique id of this process start"),
    "profile": BodyField(str, "the board profile in use"),
    "populations": BodyField(
        dict,
        "name → {bundle: digest (str), size: agents (int)}; left out of a will that would be longer than "
        "65,535 bytes, MQTT's limit",
        each=_RUNNING,
    ),
    "incarnation": BodyField(
        int, "number of this connection; a will names the connection that ended", least=0, most=MAX_COUNT
    ),
    "lost_state": BodyField(
        list,
        "lines (str), one per state file that could not be used at this start: its name, the reason, its new "
        "place; missing if there is none",
        each=BodyField(str, "line", most=1000),
    ),
    "rss": BodyField(
        int, "resident memory of the daemon at the time of connecting", unit="bytes", least=0, most=MAX_COUNT
    ),
}

HEALTH: Schema = {
    "rung": BodyField(int, "the governor's level; 0 is full", least=0, most=MAX_COUNT),
    "cause": BodyField(str, "why the governor is at this level; empty at 0"),
    "temperature_c": BodyField(float, "of the processor, whole degrees", unit="°C"),
    "throttled": BodyField(int, "1 while the firmware holds clock or voltage back, else 0", least=0, most=1),
    "disk_free_mb": BodyField(
        float, "room where the state is kept, two significant digits", unit="MB", least=0, most=MAX_COUNT
    ),
    "clock_synchronised": BodyField(int, "1 if the kernel's clock is synchronised, else 0", least=0, most=1),
    "outbox_bytes": BodyField(
        int, "telemetry that waits, two significant digits", unit="bytes", least=0, most=MAX_COUNT
    ),
    "starts": BodyField(
        int, "starts of the daemon since its state directory was made", least=0, most=MAX_COUNT
    ),
    "restart_reason": BodyField(
        str,
        "how the run before this one ended: first (there was none), stopped (in good order), failed (an "
        "exception), killed (a signal, the watchdog or memory), power (the board restarted as well)",
    ),
    "memory_share": BodyField(
        float, "resident memory as a share of the budget, two decimals", least=0, most=MAX_COUNT
    ),
}

TELEMETRY: Schema = {
    "populations": BodyField(
        dict,
        "name → counters since start: tick, steps, decisions, contradictions, missed, … (numbers); drift: "
        "stability index of the readings against those that the model was made of, missing while not known",
        each=BodyField(dict, "counters", each=_COUNTER),
    ),
    "rss": BodyField(int, "resident memory of the daemon", unit="bytes", least=0, most=MAX_COUNT),
    "historical": BodyField(bool, "true if sent later than measured; false if missing"),
    "delta": BodyField(
        bool, "true if only changes since the previous message are included; false if missing"
    ),
    "skipped": BodyField(
        list, "[first, last] ranges of sequence numbers that were thinned out on the device", each=RANGES
    ),
    "outbox": BodyField(str, "name of the outbox that numbered the message; a new outbox starts at 1"),
    "peers": BodyField(
        dict,
        "here, members, joined, left, refused, lost, duplicates, … (numbers); only changed ones",
        each=_COUNTER,
    ),
    "broker": BodyField(
        dict,
        "messages that the device did not accept: overflow, too_long, oversize_disconnects (numbers); only "
        "changed ones",
        each=_COUNTER,
    ),
    "health": BodyField(
        dict,
        "state of board and daemon; only changes in a delta; what the board does not tell is missing",
        inside=HEALTH,
    ),
    "samples": BodyField(
        dict,
        "a batch of measurements: names [str], POPULATION/AGENT/KIND/NAME with KIND reading, belief, action "
        "or figure; t0 (float, Unix seconds); series (bytes, uint16 LE, index into "
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
        "version of the desired document in force; 0 is none",
        required=True,
        least=0,
        most=MAX_VERSION,
    ),
    "trust": BodyField(
        int,
        "version of the trusted set of hub keys; 0 is the configured set",
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
        each=_PROGRESS,
    ),
    "refused": BodyField(
        dict,
        "the last refused document: {version: int, reason: str}",
        inside={
            "version": BodyField(int, "of the document", least=-MAX_COUNT, most=MAX_COUNT),
            "reason": BodyField(str, "why"),
        },
    ),
    "parameters": BodyField(dict, "name → value in force"),
    "configuration": BodyField(
        dict,
        "what the hub set in the configuration; missing if there is nothing",
        inside={
            "digest": BodyField(str, "SHA-256 in hex of the values in force as canonical JSON"),
            "values": BodyField(dict, "in force"),
            "rollout": _PROGRESS,
        },
    ),
    "releases": BodyField(
        dict,
        "population → number of the newest release seen; missing if there is none",
        each=BodyField(int, "a number", least=0, most=MAX_VERSION),
    ),
}

_SIGNED_PART = BodyField(
    dict,
    "a signed document",
    inside={
        "doc": BodyField(bytes, "the document", required=True),
        "signatures": BodyField(list, "of it", required=True, each=_SIGNATURES),
    },
)

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
        each=_SIGNED_PART,
    ),
    "releases": BodyField(
        list,
        "with a desired document: signed documents of purpose 'release' for its populations",
        each=_SIGNED_PART,
    ),
}

DESIRED: Schema = {
    "fleet": BodyField(str, "the fleet it is for", required=True),
    "device": BodyField(str, "the device it is for", required=True),
    "version": BodyField(int, "version; must increase", required=True, least=0, most=MAX_VERSION),
    "issued": BodyField(float, "when it was signed", required=True, unit="Unix s"),
    "expires": BodyField(float, "the document is refused after this time", required=True, unit="Unix s"),
    "bundles": BodyField(
        dict,
        "digest → {name: str, size: bytes (int), block: bytes per block (int), blocks: [SHA-256 in hex], "
        "url: str (optional: the address to download the bundle from)}",
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
        "name → {bundle: digest (str), config: configuration of a new population (dict, optional)}: what "
        "should run",
        each=BodyField(
            dict,
            "one population",
            inside={
                "bundle": BodyField(str, "digest"),
                "config": BodyField(dict, "configuration of a new population"),
            },
        ),
    ),
    "parameters": BodyField(dict, "name → value, e.g. telemetry_seconds"),
    "configuration": BodyField(
        dict,
        "values of keys of device.toml that a hub may set, all of them: device {key: value}, population "
        "{name: {key: value, observe: {modality: {key: value}}, act: {control: {key: value}}}}; empty: those "
        "of the file; missing: as they are",
    ),
    "gates": BodyField(
        dict,
        "name → limit for the shadow run or the trial, a number of 0 or more",
        each=BodyField(float, "a limit"),
    ),
}

GATES: Schema = {
    "shadow_seconds": BodyField(float, "length of the shadow run; 60 if not given", unit="s"),
    "trial_seconds": BodyField(float, "length of the trial; 300 if not given", unit="s"),
    "steps": BodyField(float, "minimum number of agent-steps before the gates are checked; 100 if not given"),
    "agreement": BodyField(float, "minimum share of equal actions in the shadow run; 0 if not given"),
    "missed_rate": BodyField(float, "maximum missed deadlines per tick; 0.01 if not given"),
    "contradiction_rate": BodyField(float, "maximum contradictions per agent-step; 0.05 if not given"),
    "free_energy_rise": BodyField(
        float, "maximum rise of free energy per step over the old bundle; 1 if not given", unit="nat"
    ),
    "held_rise": BodyField(
        float,
        "maximum rise of the share of agents that are held at their safe values, in the trial of a "
        "configuration; 0.1 if not given",
    ),
    "memory": BodyField(
        float,
        "maximum resident memory of the daemon; 0 is no limit besides its plan; 0 if not given",
        unit="bytes",
    ),
}

KEYS: Schema = {
    "fleet": BodyField(str, "the fleet it is for", required=True),
    "version": BodyField(int, "version; must increase", required=True, least=0, most=MAX_VERSION),
    "keys": BodyField(list, "public keys in hex (64 digits)", required=True, each=_TEXT),
    "threshold": BodyField(int, "number of keys that must sign", required=True, least=0, most=MAX_COUNT),
    "release_keys": BodyField(
        list,
        "public keys in hex of the release role; keys are then the director's; missing: release keys stay "
        "as they are, if there are any",
        each=_TEXT,
    ),
    "release_threshold": BodyField(
        int, "number of release keys that must sign; 1 if missing", least=0, most=MAX_COUNT
    ),
}

RELEASE: Schema = {
    "fleet": BodyField(str, "the fleet it is for", required=True),
    "population": BodyField(str, "the population it is for", required=True),
    "bundle": BodyField(str, "digest of the bundle that is released", required=True),
    "number": BodyField(
        int,
        "of the release; the highest that a device has seen for a population decides",
        required=True,
        least=1,
        most=MAX_VERSION,
    ),
    "issued": BodyField(float, "when it was signed", required=True, unit="Unix s"),
    "allows": BodyField(
        list, "digests of older bundles that the director may go back to", most=32, each=_TEXT
    ),
    "config": BodyField(dict, "configuration of a new population"),
    "devices": BodyField(list, "names of the devices it is for; missing: all of the fleet", each=_TEXT),
    "expires": BodyField(
        float, "a device that has not seen it until then refuses it; 0 or missing: never", unit="Unix s"
    ),
}

COMMAND_NAMES = (
    "status",
    "reset",
    "set-rate",
    "record",
    "replay-window",
    "reload",
    "send-learned",
    "reset-learned",
    "explain",
    "counters",
    "log",
    "support-bundle",
)
LONG_REPLIES = frozenset({"log", "support-bundle"})
"""Commands with long replies that show the inside of a device: a device does not keep them, and the hub shows
them to operators alone.
"""
COMMANDS_TEXT = f"{', '.join(COMMAND_NAMES[:-1])} or {COMMAND_NAMES[-1]}"
COMMAND: Schema = {
    "fleet": BodyField(str, "the fleet it is for", required=True),
    "device": BodyField(str, "the device it is for", required=True),
    "id": BodyField(str, "unique; a device carries out an id once", required=True),
    "name": BodyField(
        str,
        COMMANDS_TEXT,
        required=True,
    ),
    "arguments": BodyField(dict, "depends on the command"),
    "expires": BodyField(
        float, "the command is refused after this time; at most one day ahead", required=True, unit="Unix s"
    ),
}

REPLY: Schema = {
    "id": BodyField(str, "the command's id", required=True),
    "ok": BodyField(bool, "whether the command was carried out", required=True),
    "reason": BodyField(str, "why not"),
    "result": BodyField(dict, "depends on the command"),
}

CONFIRM: Schema = {
    "outbox": BodyField(str, "name of the outbox that numbered the messages", required=True),
    "ranges": BodyField(list, "[first, last] ranges of sequence numbers", required=True, each=RANGES),
}

FETCH: Schema = {
    "bundle": BodyField(str, "digest of the bundle", required=True),
    "blocks": BodyField(
        list,
        "indices of the requested blocks, in order",
        required=True,
        each=BodyField(int, "index", least=0, most=MAX_BLOCKS),
    ),
}

BLOCK: Schema = {
    "bundle": BodyField(str, "digest of the bundle", required=True),
    "index": BodyField(int, "which block", required=True, least=0, most=MAX_BLOCKS),
    "data": BodyField(
        bytes,
        "at most 131072 bytes; its SHA-256 is in the desired document",
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
