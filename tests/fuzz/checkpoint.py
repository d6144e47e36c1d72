"""Checkpoints: the daemon's file, the state of a population, and the hub's state after a restart."""

from __future__ import annotations

import hashlib
import json
import math
import random
import zlib
from collections.abc import Iterator
from dataclasses import asdict
from functools import cache
from types import SimpleNamespace

import msgpack
import numpy as np
from ai_edge_litert.schema_py_generated import FullyConnectedOptionsT

from edge_agent import Population
from edge_agent.adapters.state_file import StateFile
from edge_agent.errors import BundleError, ConfigError
from edge_agent.neural.network import NeuralModel
from edge_agent.neural.network_population import NeuralPopulation
from edge_agent.protocol.hub_client import HubClient
from edge_agent.runtime.population import checkpoint
from edge_agent.runtime.population.counters import GroupCounters
from edge_agent.testing.clock import ManualClock
from edge_agent.wire import npz
from edge_agent.wire.documents import Trust
from edge_convert.tflite.flatbuffer import TfliteFile
from tests.fuzz.files import light, written
from tests.fuzz.hub import NOW, OLD, TOPICS
from tests.fuzz.wire import HUB

MAGIC = b"EACKPT01"
DTYPES = ("<f4", "<f8", "<u4", "<i8", "<u8", "<i4", "|b1", "<U1")
MAX_NUMBERS = 64


def decode(data: bytes) -> None:
    """The first byte says what the rest is: content of a file, a population's state, the hub's; or a file.

    ``N`` is the state of networks, with one array out of the input: its name, dtype, shape and data.
    """
    kind, rest = data[:1], data[1:]
    match kind:
        case b"M":
            packed = zlib.compress(rest, 1)
            _resume(MAGIC + zlib.crc32(packed).to_bytes(4, "little") + packed)
        case b"P":
            _restore(rest)
        case b"N":
            _restore_network(rest)
        case b"S":
            with written(rest, "follower.json") as path:
                state = StateFile(path).read()
            trust = Trust("f", (HUB.public.raw,))
            HubClient(TOPICS, trust, {"rooms": (OLD, 5)}, lambda _: (), random.Random(0), state).start(
                0.0, NOW
            )
        case _:
            _resume(data)


def _resume(data: bytes) -> None:
    agents = Population(light(), 2, seed=3)
    counters = GroupCounters()

    def resume_from(beliefs: bytes, earlier: GroupCounters) -> None:
        agents.restore(beliefs)
        counters.resume_from(earlier)

    group = SimpleNamespace(digest="light", names="ab", resume_from=resume_from, on_time=True, reopen=float)
    checkpoint.resume(checkpoint.decode(data), {"p": group}, ManualClock())
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


def _restore_network(data: bytes) -> None:
    agents = networks()
    before = agents.checkpoint()
    state = npz.parse(before, "before", BundleError)
    which, kind, dimensions, *shape = *data[:6], *bytes(6 - len(data[:6]))
    shape = shape[: dimensions % 4]
    dtype = np.dtype(DTYPES[kind % len(DTYPES)])
    count = math.prod(shape) if math.prod(shape) <= MAX_NUMBERS else 0
    content = np.frombuffer(data[6:].ljust(count * dtype.itemsize, b"\0"), np.uint8)
    array = content[: count * dtype.itemsize].view(dtype)
    name = sorted(state)[which % len(state)]
    try:
        agents.restore(npz.write(state | {name: array.reshape(shape) if count else array}))
    except BundleError:
        assert agents.checkpoint() == before
        raise
    for _ in range(2):
        agents.step(np.zeros((2, 2), np.float32))
        assert np.isfinite(agents.output(0)).all()
    agents.restore(before)


@cache
def networks() -> NeuralPopulation:
    """Return two networks that see their last two observations of two numbers."""
    file = TfliteFile()
    x, y = file.activation("x", [2, 4]), file.activation("y", [2, 3])
    w = file.constant("w", np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4))
    file.operator(
        "FULLY_CONNECTED", [x, w, file.constant("b", np.zeros(3, np.float32))], y, FullyConnectedOptionsT()
    )
    payload = memoryview(file.finish([x], [y]))
    model = NeuralModel("net", "tflite", "0", payload, (4,), ((3,),), 2, 0, "argmax", 0, True, {})
    return NeuralPopulation(model, 2)


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
    hub_client = HubClient(TOPICS, trust, {"rooms": (OLD, 5)}, lambda _: (), random.Random(0))
    yield b"N" + bytes([2, 3, 0, 0, 0, 0]) + bytes(8)  # the tick
    yield b"N" + bytes([3, 0, 2, 2, 4, 0]) + np.ones(8, "<f4").tobytes()  # the window
    yield b"S" + json.dumps(hub_client.state()).encode()
