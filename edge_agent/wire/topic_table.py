"""Every topic of the protocol: writer, reader, QoS, retained flag and body. docs/protocol.md shows it."""

from __future__ import annotations

from dataclasses import dataclass

from edge_agent.wire import bodies, home_assistant_bodies
from edge_agent.wire.bodies import Schema
from edge_agent.wire.learned_body import LEARNED


@dataclass(frozen=True, slots=True)
class TopicRow:
    """One kind of topic. ``signed`` names the schema of the signed document inside, if there is one."""

    topic: str
    writer: str
    reader: str
    qos: int
    retained: bool
    meaning: str
    body: Schema | None
    signed: Schema | None = None


CHANNELS: tuple[TopicRow, ...] = (
    TopicRow(
        "edge/v1/FLEET/DEVICE/up/birth",
        "device",
        "hub, peers",
        1,
        True,
        "Published on every connect. The will and the goodbye message are the same body with online false.",
        bodies.BIRTH,
    ),
    TopicRow(
        "edge/v1/FLEET/DEVICE/up/telemetry",
        "device",
        "hub",
        1,
        False,
        "Sent through the outbox on disk. seq counts from 1 without gaps within one outbox. A repeated "
        "message has the same seq. seq increases within the historical and within the live messages.",
        bodies.TELEMETRY,
    ),
    TopicRow(
        "edge/v1/FLEET/DEVICE/up/learned",
        "device",
        "hub",
        1,
        False,
        "What a population counted in an epoch while it learned, in pieces. Sent through the outbox and "
        "numbered with telemetry. A contribution counts once all its pieces are there; an epoch that is sent "
        "twice counts once.",
        LEARNED,
    ),
    TopicRow(
        "edge/v1/FLEET/DEVICE/up/reported",
        "device",
        "hub",
        1,
        True,
        "Published on every connect and on every change, at most once per second.",
        bodies.REPORTED,
    ),
    TopicRow(
        "edge/v1/FLEET/DEVICE/up/reply/ID",
        "device",
        "hub",
        1,
        False,
        "The answer to command ID. A repeated command gets the same answer again.",
        bodies.REPLY,
    ),
    TopicRow(
        "edge/v1/FLEET/DEVICE/up/state",
        "device",
        "Home Assistant",
        0,
        False,
        "The device's current state in JSON, without the envelope. Needs broker.home_assistant.",
        home_assistant_bodies.STATE,
    ),
    TopicRow(
        "edge/v1/FLEET/DEVICE/up/state/POPULATION/INDEX",
        "device",
        "Home Assistant",
        0,
        False,
        "The state of an agent in JSON, without the envelope. Published when it changes, at most once per "
        "home_assistant.interval_s, and at least once per minute. Needs population.home_assistant.",
        home_assistant_bodies.AGENT_STATE,
    ),
    TopicRow(
        "edge/v1/FLEET/DEVICE/up/fetch",
        "device",
        "hub",
        1,
        False,
        "Requests blocks of a bundle. The request is repeated until the blocks arrive.",
        bodies.FETCH,
    ),
    TopicRow(
        "edge/v1/FLEET/DEVICE/out/POPULATION",
        "device",
        "application",
        0,
        False,
        "Actions of a whole population, as arrays.",
        None,
    ),
    TopicRow(
        "edge/v1/FLEET/DEVICE/down/desired",
        "hub",
        "device",
        1,
        True,
        "The bundles and populations that should run, signed. A document is refused if it is forged, "
        "expired, for another device, or not newer than the one in force.",
        bodies.SIGNED,
        bodies.DESIRED,
    ),
    TopicRow(
        "edge/v1/FLEET/DEVICE/down/command",
        "hub",
        "device",
        1,
        False,
        "A signed command with an expiry time. Each id is carried out once. A retained command is ignored.",
        bodies.SIGNED,
        bodies.COMMAND,
    ),
    TopicRow(
        "edge/v1/FLEET/DEVICE/down/block",
        "hub",
        "device",
        1,
        False,
        "One block of a bundle. It is stored if its SHA-256 matches the desired document.",
        bodies.BLOCK,
    ),
    TopicRow(
        "edge/v1/FLEET/DEVICE/down/confirm",
        "hub",
        "device",
        1,
        False,
        "The telemetry that the hub has stored. With hub.confirm a device keeps telemetry on its disk until "
        "then, and repeats messages that a broker acknowledged and lost. Not signed: a forged message could "
        "make a device delete telemetry.",
        bodies.CONFIRM,
    ),
    TopicRow(
        "edge/v1/FLEET/DEVICE/in/POPULATION",
        "application",
        "device",
        0,
        False,
        "Observations for a whole population, as arrays.",
        None,
    ),
    TopicRow(
        "edge/v1/FLEET/DEVICE/in/POPULATION/override",
        "Home Assistant",
        "device",
        1,
        False,
        "A value that replaces an agent's decision for a time, in JSON, without the envelope. Not signed. "
        "Accepted with home_assistant.override_s above 0.",
        home_assistant_bodies.OVERRIDE,
    ),
    TopicRow(
        "edge/v1/FLEET/peer/DEVICE/presence",
        "device",
        "peers",
        1,
        True,
        "The device's roster entry. Published on every connect, at each heartbeat, and when a value changes "
        "that other devices use.",
        None,
    ),
    TopicRow(
        "edge/v1/FLEET/peer/DEVICE/evidence",
        "device",
        "peers",
        0,
        False,
        "Evidence of the device's agents about shared factors, once per fleet tick, and a report of the "
        "evidence that it has received.",
        None,
    ),
    TopicRow(
        "edge/v1/FLEET/peer/DEVICE/handover",
        "device",
        "peers",
        1,
        False,
        "Populations that are lent to another device and returned. The sender signs the beliefs.",
        None,
    ),
)

ANNOUNCEMENT = TopicRow(
    "PREFIX/device/FLEET/DEVICE/config",
    "device",
    "Home Assistant",
    1,
    True,
    "Home Assistant's device discovery in JSON, without the envelope; PREFIX is broker.home_assistant. "
    "Published on every connect, when a population is added or removed, and when PREFIX/status is online. "
    "An empty message removes the device.",
    home_assistant_bodies.ANNOUNCEMENT,
)
"""The only topic outside ``edge/v1``."""
