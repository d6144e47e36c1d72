"""Flight recordings: whole files, and frames with valid checksums and invalid content."""

from __future__ import annotations

from collections.abc import Iterator

import msgpack
import numpy as np

from edge_agent import Model, Population
from edge_agent.errors import ConfigError
from edge_agent.runtime.recording.recorder import frame, frames
from edge_agent.runtime.recording.replay import replay
from tests.fuzz.files import light


def decode(data: bytes) -> None:
    """A recording's bytes; or after ``F`` a msgpack list of what its frames hold."""
    if data[:1] == b"F":
        try:
            contents = msgpack.unpackb(data[1:], strict_map_key=False)
        except (ValueError, TypeError, msgpack.UnpackException):
            return
        if not isinstance(contents, list):
            return
        data = b"".join(frame(content) for content in contents[:20])
    replay(list(frames(data)), _find)


def _find(_path: str, digest: str) -> Model:
    if digest != "light":
        raise ConfigError("no such bundle")
    return light()


def _contents(size: int, names: object) -> list[dict[str, object]]:
    agents = Population(light(), size, seed=3)
    begin = {
        "v": 1,
        "kind": "begin",
        "population": "p",
        "digest": "light",
        "bundle": "light.eab",
        "size": size,
        "seed": 3,
        "horizon": None,
        "names": names,
        "beliefs": agents.checkpoint(),
    }
    observed = np.zeros((size, 1), np.int16)
    step = {
        "kind": "step",
        "population": "p",
        "tick": 0,
        "agents": b"",
        "observed": observed.astype("<i2").tobytes(),
        "actions": agents.step(observed).astype("<i2").tobytes(),
        "shape": [size, 1, 1],
    }
    one = step | {
        "tick": 1,
        "agents": np.zeros(1, "<i4").tobytes(),
        "observed": bytes(2),
        "actions": agents.step(observed[:1], np.zeros(1, np.intp)).astype("<i2").tobytes(),
        "shape": [1, 1, 1],
    }
    return [begin, step, {"kind": "plan", "population": "p", "horizon": 1}, one]


def seed() -> bytes:
    """Return one input that is right."""
    return b"F" + msgpack.packb(_contents(2, "{population}-{index}"))


def seeds() -> Iterator[bytes]:
    """Yield inputs to start from."""
    yield seed()
    yield b"F" + msgpack.packb(_contents(1, ["one"]))
    yield b"".join(frame(content) for content in _contents(2, ["one", "two"]))
