"""Messages from the hub and from devices: state machines behind a malicious broker.

Documents and commands are signed here, since a signature is the first thing that is asked for: what is tried
is a hub whose key is good and whose content is not. A block, a confirmation, a peer's presence come as they
are, into machines that wait for them.
"""

from __future__ import annotations

import contextlib
import json
import math
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import msgpack

from edge_agent.errors import PeerError
from edge_agent.protocol.hub_client import HubClient
from edge_agent.protocol.peers.peer import Peer, PeerSettings
from edge_agent.protocol.ports import Received
from edge_agent.wire import blocks, documents, messages, presence
from edge_agent.wire.bundle import canonical_json
from edge_agent.wire.documents import Trust
from edge_agent.wire.messages import Message
from edge_agent.wire.topics import DeviceTopics
from edge_hub.archive import Archive
from edge_hub.connection import Connection, Incoming
from edge_hub.deployment import Deployment
from edge_hub.desired import Desired
from edge_hub.hub_folder import HubStore
from edge_hub.rollout import FleetRollout, Member
from edge_hub.tables import fleet_table
from tests.fuzz.wire import HUB

TOPICS = DeviceTopics("f", "d")
NOW = 1.7e9
NEW, OLD = "a" * 64, "b" * 64
CUT = blocks.cut(NEW, "new", b"0123456789", block=4)
DESIRED = {
    "fleet": "f",
    "device": "d",
    "version": 1,
    "issued": NOW,
    "expires": NOW + 1e6,
    "bundles": {NEW: CUT.entry()},
    "populations": {"rooms": {"bundle": NEW}},
    "parameters": {"telemetry_seconds": 5},
    "gates": {"shadow_seconds": 10, "trial_seconds": 20, "steps": 10},
}
COMMAND = {
    "fleet": "f",
    "device": "d",
    "id": "1",
    "name": "set-rate",
    "arguments": {"population": "rooms", "rate_hz": 2.0},
    "expires": NOW + 60,
}
UP = ("birth", "telemetry", "reported", "reply/1", "fetch", "presence")


def decode(data: bytes) -> None:
    """The first byte says which way the rest travels."""
    kind, rest = data[:1], data[1:]
    match kind:
        case b"d":
            _follow(TOPICS.desired, _signed(rest, documents.DESIRED))
        case b"c":
            _follow(TOPICS.command, _signed(rest, documents.COMMAND))
        case b"k":
            keys = _body(rest, documents.KEYS)
            body = _body(canonical_json(DESIRED), documents.DESIRED) | {"rotations": [keys]}
            _follow(TOPICS.desired, messages.encode(Message(body)))
        case b"b":
            _follow(TOPICS.block, rest)
        case b"r":  # what the hub itself finds retained, signed by its key or not
            for payload in (rest, _signed(rest, documents.DESIRED)):
                with contextlib.suppress(PeerError):
                    Desired(Mock(Connection), "f", [HUB], [], 60.0).note("d", payload)
        case b"p":
            peer = Peer(TOPICS, PeerSettings(), 1)
            peer.connected(0.0, NOW)
            for retained in (False, True):
                peer.presence("e", rest, retained, 1.0, NOW)
                peer.tick(60.0, NOW + 60)
        case _:
            up = UP[kind[0] % len(UP)] if kind else UP[0]
            topic = f"edge/v1/f/peer/d/{up}" if up == "presence" else f"edge/v1/f/d/up/{up}"
            _hear(topic, rest)


def _hear(topic: str, payload: bytes) -> None:
    """All that the hub's commands do with what a device says; none of it may be unforeseen."""
    link = Mock(Connection, unsent=lambda _topic: 0)
    desired = Desired(link, "f", [HUB], [], 60.0)
    rollout = FleetRollout("r", NEW, "m", "rooms", [["d"]], {"d": Member()})
    with tempfile.TemporaryDirectory() as folder:
        deployment = Deployment(rollout, HubStore(Path(folder)), link, desired, lambda: NOW)
        for name in rollout.step(NOW):
            rollout.sent(name, 7, OLD, NOW)
        for _ in range(2):
            deployment.handle(Incoming(topic, payload, True))
        fleet = deployment.fleet
        for device in fleet.devices.values():
            json.dumps(device.row(), allow_nan=False)
        fleet_table(fleet, NOW, 100)
        json.dumps([rollout.state(), rollout.outcomes()], allow_nan=False)
        archive = Archive(Path(folder) / "t.db")
        archive.store([(topic, payload)] * 2)
        archive.gaps()
        archive.close()
    assert fleet.rejected.unforeseen == archive.rejected.unforeseen == 0, fleet.rejected.last


def _follow(topic: str, payload: bytes) -> None:
    def had(_cut: object) -> set[int]:
        return set()

    configured = {"rooms": (OLD, 5)}
    hub_client = HubClient(TOPICS, Trust("f", (HUB.public.raw,)), configured, had, random.Random(0))
    if topic == TOPICS.block:
        ours = Received(TOPICS.desired, _signed(canonical_json(DESIRED), documents.DESIRED), 1, True)
        hub_client.handle(ours, 0.0, NOW)
    for now in (0.0, 1.0):
        hub_client.handle(Received(topic, payload, 1, False), now, NOW)
        hub_client.tick(now + 100.0, NOW)
    again = HubClient(
        TOPICS, Trust("f", (HUB.public.raw,)), configured, had, random.Random(0), hub_client.state()
    )
    again.start(0.0, NOW)
    again.online(0.0, NOW)


def _body(text: bytes, purpose: str) -> dict[str, object]:
    message = purpose.encode("ascii") + b"\0" + text
    return {"doc": text, "signatures": [{"key": HUB.public.raw, "signature": HUB.sign(message)}]}


def _signed(text: bytes, purpose: str) -> bytes:
    return messages.encode(Message(_body(text, purpose)))


def seed() -> bytes:
    """Return one input that is right."""
    return b"d" + canonical_json(DESIRED)


def seeds() -> Iterator[bytes]:
    """Yield inputs to start from."""
    yield seed()
    yield b"c" + canonical_json(COMMAND)
    yield b"r" + canonical_json(DESIRED)
    yield b"r" + _signed(canonical_json(DESIRED), documents.DESIRED)
    keys = {"fleet": "f", "version": 1, "keys": [HUB.public.raw.hex()], "threshold": 1}
    yield b"k" + canonical_json(keys)
    yield b"b" + messages.encode(Message({"bundle": NEW, "index": 0, "data": b"0123"}))
    word = presence.to_body(presence.Presence("e", 3, 1, capabilities=("heat",), accounts=(("d", 1, 2),)))
    yield b"p" + messages.encode(Message(word, seq=1, t=NOW))
    told = {
        "birth": {"online": True, "device": "d", "populations": {"p": {"bundle": NEW, "size": 5}}},
        "telemetry": {"populations": {"p": {"tick": 3}}, "rss": 5, "delta": True, "skipped": [[1, 2]]},
        "reported": {"version": 1, "populations": {}, "rollouts": {"p": {"bundle": NEW, "stage": "trial"}}},
        "reply/1": {"id": "1", "ok": True, "result": {}},
        "fetch": {"bundle": NEW, "blocks": [0, 1]},
    }
    for number, up in enumerate(UP):
        body = told.get(up, word)
        yield bytes([number]) + messages.encode(Message(body, seq=1, t=NOW))
    said: tuple[tuple[int, dict[object, object]], ...] = (  # each once ended a command of the hub
        (0, {"online": True, "populations": {"air": 7}, 1: 2, b"x": 3}),
        (1, {b"rss": 1}),
        (1, {msgpack.Timestamp(1): 1}),
        (1, {"populations": {"air": {"tick": math.inf}}}),
        (2, {"version": 1, "populations": {}, "rollouts": {"rooms": 5}}),
        (2, {"version": 1, "populations": {"rooms": 7}}),
        (4, {"bundle": NEW, "blocks": [2**63]}),
    )
    for number, odd in said:
        yield bytes([number]) + msgpack.packb({"v": 1, "body": odd})
    yield b"\x01" + b"\x82\xa1v\x01\xa4body\x81\xa1a" + b"\x91" * 1010 + b"\xc0"
