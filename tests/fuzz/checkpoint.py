"""Checkpoints: the daemon's file, what a population is restored from, and the hub's state after a restart."""

from __future__ import annotations

import hashlib
import json
import random
import zlib
from collections.abc import Iterator
from dataclasses import asdict
from types import SimpleNamespace

import msgpack
import numpy as np

from edge_agent import Population
from edge_agent.adapters.state import StateFile
from edge_agent.errors import ConfigError
from edge_agent.protocol.follower import Follower
from edge_agent.runtime import checkpoint
from edge_agent.runtime.counters import GroupCounters
from edge_agent.wire.documents import Trust
from tests.fuzz.files import light, written
from tests.fuzz.hub import NOW, OLD, TOPICS
from tests.fuzz.wire import HUB

MAGIC = b"EACKPT01"


def decode(data: bytes) -> None:
    """The first byte says what the rest is: content of a file, a population's state, the hub's; or a file."""
    kind, rest = data[:1], data[1:]
    match kind:
        case b"M":
            packed = zlib.compress(rest, 1)
            _resume(MAGIC + zlib.crc32(packed).to_bytes(4, "little") + packed)
        case b"P":
            _restore(rest)
        case b"S":
            with written(rest, "follower.json") as path:
                state = StateFile(path).read()
            trust = Trust("f", (HUB.public.raw,))
            Follower(TOPICS, trust, {"rooms": (OLD, 5)}, lambda _: (), random.Random(0), state).start(
                0.0, NOW
            )
        case _:
            _resume(data)


def _resume(data: bytes) -> None:
    agents = Population(light(), 2, seed=3)
    counters = GroupCounters()

    def go_on(beliefs: bytes, earlier: GroupCounters) -> None:
        agents.restore(beliefs)
        counters.go_on(earlier)

    group = SimpleNamespace(digest="light", names="ab", go_on=go_on)
    checkpoint.resume(checkpoint.decode(data), {"p": group})
    agents.step(np.zeros((2, 1), np.int16))


def _restore(data: bytes) -> None:
    """``data`` is a head and a body whose digest is put right; what is taken over must be safe to step."""
    line, _, body = data.partition(b"\n")
    try:
        head = json.loads(line)
    except (ValueError, RecursionError):
        head = None
    if isinstance(head, dict):
        line = json.dumps(head | {"sha256": hashlib.sha256(body).hexdigest()}).encode()
    agents = Population(light(), 2, seed=3)
    before = agents.checkpoint()
    try:
        agents.restore(line + b"\n" + body)
    except ConfigError:
        assert agents.checkpoint() == before
        raise
    for _ in range(2):
        agents.step(np.zeros((2, 1), np.int16))
        assert np.isfinite(agents.beliefs(0)).all()


def _state() -> bytes:
    agents = Population(light(), 2, seed=3)
    agents.step(np.zeros((2, 1), np.int16))
    return agents.checkpoint()


def _packed() -> bytes:
    entry = {
        "digest": "light",
        "size": 2,
        "counters": asdict(GroupCounters(3, 6, 6, 6, 0)),
        "beliefs": _state(),
    }
    return msgpack.packb({"populations": {"p": entry}})


def seed() -> bytes:
    """Return one input that is right."""
    return b"P" + _state()


def seeds() -> Iterator[bytes]:
    """Yield inputs to start from."""
    yield seed()
    yield b"M" + _packed()
    packed = zlib.compress(_packed(), 1)
    yield MAGIC + zlib.crc32(packed).to_bytes(4, "little") + packed
    trust = Trust("f", (HUB.public.raw,))
    follower = Follower(TOPICS, trust, {"rooms": (OLD, 5)}, lambda _: (), random.Random(0))
    yield b"S" + json.dumps(follower.state()).encode()
