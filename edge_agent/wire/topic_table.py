"""Every topic of the protocol as data: who writes it, how, and what is in it. docs/protocol.md is made of
this.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge_agent.wire import bodies
from edge_agent.wire.bodies import Schema


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
        "Published on every connect; the will is the same with online false, and so is the goodbye.",
        bodies.BIRTH,
    ),
    TopicRow(
        "edge/v1/FLEET/DEVICE/up/telemetry",
        "device",
        "hub",
        1,
        False,
        "Through the outbox on disk. seq counts from 1 without holes in one outbox; what is sent twice "
        "has the "
        "same seq; among historical and among live messages it only goes up.",
        bodies.TELEMETRY,
    ),
    TopicRow(
        "edge/v1/FLEET/DEVICE/up/reported",
        "device",
        "hub",
        1,
        True,
        "Published on every connect and on every change, at most once a second.",
        bodies.REPORTED,
    ),
    TopicRow(
        "edge/v1/FLEET/DEVICE/up/reply/ID",
        "device",
        "hub",
        1,
        False,
        "The answer to command ID; the same answer again if the command is repeated.",
        bodies.REPLY,
    ),
    TopicRow(
        "edge/v1/FLEET/DEVICE/up/state",
        "device",
        "Home Assistant",
        0,
        False,
        "How the device is now, in JSON and without the envelope; only with broker.home_assistant.",
        bodies.STATE,
    ),
    TopicRow(
        "edge/v1/FLEET/DEVICE/up/fetch",
        "device",
        "hub",
        1,
        False,
        "Asks for blocks of a bundle; asked again if they don't come.",
        bodies.FETCH,
    ),
    TopicRow(
        "edge/v1/FLEET/DEVICE/out/POPULATION",
        "device",
        "application",
        0,
        False,
        "Bulk actions of a population, arrays.",
        None,
    ),
    TopicRow(
        "edge/v1/FLEET/DEVICE/down/desired",
        "hub",
        "device",
        1,
        True,
        "What should run. Signed; refused if forged, expired, for another device, or not newer than the "
        "one in "
        "force.",
        bodies.SIGNED,
        bodies.DESIRED,
    ),
    TopicRow(
        "edge/v1/FLEET/DEVICE/down/command",
        "hub",
        "device",
        1,
        False,
        "Signed, expires, carried out once for each id. A retained one is ignored.",
        bodies.SIGNED,
        bodies.COMMAND,
    ),
    TopicRow(
        "edge/v1/FLEET/DEVICE/down/block",
        "hub",
        "device",
        1,
        False,
        "One block of a bundle; kept if its SHA-256 is the one in the desired document.",
        bodies.BLOCK,
    ),
    TopicRow(
        "edge/v1/FLEET/DEVICE/down/confirm",
        "hub",
        "device",
        1,
        False,
        "What the hub has stored. A device that is set to wait for it keeps telemetry on its disk until "
        "then, and "
        "sends again what a broker acknowledged and lost. Not signed: whoever can forge it could drop "
        "the telemetry.",
        bodies.CONFIRM,
    ),
    TopicRow(
        "edge/v1/FLEET/DEVICE/in/POPULATION",
        "application",
        "device",
        0,
        False,
        "Bulk observations for a population, arrays.",
        None,
    ),
    TopicRow(
        "edge/v1/FLEET/peer/DEVICE/presence",
        "device",
        "peers",
        1,
        True,
        "Roster entry; published on every connect, each heartbeat, and when something changed that others "
        "depend on.",
        None,
    ),
    TopicRow(
        "edge/v1/FLEET/peer/DEVICE/evidence",
        "device",
        "peers",
        0,
        False,
        "What a device's agents saw of shared factors, once a fleet tick; and which evidence it has of whom.",
        None,
    ),
    TopicRow(
        "edge/v1/FLEET/peer/DEVICE/handover",
        "device",
        "peers",
        1,
        False,
        "Populations lent to another device and given back, beliefs signed by who sends them.",
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
    "Published on every connect, when populations came or went, and when PREFIX/status says online. "
    "An empty one takes it back.",
    bodies.ANNOUNCEMENT,
)
"""The one topic outside our tree."""
