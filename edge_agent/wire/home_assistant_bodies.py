"""Schemas of the bodies that Home Assistant reads and sends; types and checks are those of `wire.bodies`."""

from __future__ import annotations

from edge_agent.wire.body_checks import BodyField, Schema

STATE: Schema = {
    "online": BodyField(bool, "false in the last state before an orderly stop; true if missing"),
    "rss": BodyField(int, "resident memory of the daemon", required=True, unit="bytes"),
    "rung": BodyField(str, "the governor's level: full, or the restriction in force", required=True),
    "backlog": BodyField(int, "telemetry waiting in the outbox", required=True, unit="bytes"),
    "populations": BodyField(dict, "name → agents and the counters of up/telemetry (numbers)", required=True),
}

AGENT_STATE: Schema = {
    "decision": BodyField(dict, "control → value that the agent chose last, null before", required=True),
    "sent": BodyField(
        dict, "control → value sent last; with ' (safe)' if it is the safe value", required=True
    ),
    "override": BodyField(
        dict,
        "control → value that replaces the agent's decision, auto for none; controls that accept overrides",
    ),
    "until": BodyField(dict, "control → end of the override (ISO 8601, UTC), null for none"),
    "belief": BodyField(dict, "named factor → {state: the likeliest one, probability: number}"),
}

OVERRIDE: Schema = {
    "agent": BodyField(str, "name of an agent that is shown in Home Assistant", required=True),
    "control": BodyField(str, "name of a control with an act entry", required=True),
    "value": BodyField(str, "a value of the control, or auto: the agent decides again", required=True),
    "seconds": BodyField(
        float, "duration; at most home_assistant.override_s, which is the default", unit="s"
    ),
}

ANNOUNCEMENT: Schema = {
    "device": BodyField(
        dict, "identifiers, name, manufacturer, model (the profile), sw_version", required=True
    ),
    "origin": BodyField(dict, "name and sw_version of edge-agent", required=True),
    "components": BodyField(
        dict,
        "id → a sensor or select and the value that it shows; an entry with only its platform is removed",
        required=True,
    ),
    "state_topic": BodyField(str, "up/state of the device", required=True),
    "availability": BodyField(list, "up/state and up/birth of the device, each with a template for online"),
    "qos": BodyField(int, "of the state", required=True),
}
