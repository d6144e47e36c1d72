"""The flight recorder: records what is needed to repeat every decision, in a file of bounded size.

Theory of operation. A recording is a row of frames: length and CRC-32 (little-endian, 4 bytes each), then a
zlib-packed msgpack map. A ``begin`` frame holds a population's bundle, size, seed and belief checkpoint; a
``step`` frame holds tick, agents (empty: all), observations (distributions beside the bins that stand for
them) and the actions that came out; a ``decide`` frame
the same of decisions within a tick, which leave beliefs as they were; a ``pass`` frame what was observed in a
tick that passed without a step; a ``plan`` frame
how far ahead a population plans from there on, a ``prefer`` frame what a coalition adds to its preferences;
a ``believe`` frame holds what it takes over from peers; an ``act`` frame, or the step's own, what those did
who were held safe, whose actions waited, or who were overridden. An ``override`` frame states that a user
replaced an agent's decision, or ended that; what the agent executes follows in ``act`` frames. From the
beliefs and the observations the engine must give the same actions, bit for bit, on any machine.

The file is bounded by segments: when the present one reaches half the limit it becomes the old one, whose
predecessor goes, and a new one begins with fresh ``begin`` frames, so each segment can be replayed by
itself. A power cut tears the last frame at most; reading ends there.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import msgpack
import numpy as np
from numpy.typing import NDArray

from edge_agent.config.records import PopulationConfig
from edge_agent.errors import ConfigError, PeerError, PlatformError
from edge_agent.runtime.population.group import Group, Step
from edge_agent.runtime.population.safe_state import Executed
from edge_agent.runtime.population.spread import Distributions
from edge_agent.wire import bodies
from edge_agent.wire.bodies import BodyField

VERSION = 1
MAX_FRAME = 64 * 1024 * 1024
_HEADER = 8
_OF: dict[str, BodyField] = {
    "kind": BodyField(str, "one of FRAMES", required=True),
    "population": BodyField(str, "name", required=True),
}
_SOFT: dict[str, BodyField] = {
    "soft": BodyField(dict, "modality to distributions observed, float32 LE [n, O]; zeros: the outcome"),
}
_STEP: dict[str, BodyField] = {
    "tick": BodyField(int, "of the population", required=True),
    "agents": BodyField(bytes, "int32 LE, who stepped; empty: all", required=True),
    "observed": BodyField(bytes, "int16 LE [n, M]; float32 of a network", required=True),
    "actions": BodyField(bytes, "int16 LE [n, F]", required=True),
    "shape": BodyField(list, "[n, M, F]", required=True),
} | _SOFT
FRAMES: Mapping[str, bodies.Schema] = {
    "begin": _OF
    | {
        "digest": BodyField(str, "of the bundle", required=True),
        "bundle": BodyField(str, "its path", required=True),
        "size": BodyField(int, "agents", required=True),
        "seed": BodyField(int, "of the population", required=True),
        "beliefs": BodyField(bytes, "the population's checkpoint", required=True),
        "prefer": BodyField(dict, "as in the frame prefer"),
        "redecides": BodyField(bool, "whether there are decide frames"),
        "learn_every": BodyField(
            int, "ticks between new tables of what was learned; 0: none", least=0, most=2**31
        ),
        "learn_own": BodyField(bool, "each agent learns by itself"),
    },
    "decide": _OF | _STEP,
    "step": _OF
    | _STEP
    | {
        "held": BodyField(bytes, "int32 LE, whose actions were others than they chose"),
        "executed": BodyField(bytes, "int16 LE [held, F]; -1 not known"),
    },
    "pass": _OF | {"observed": BodyField(bytes, "int16 LE [N, M]", required=True)} | _SOFT,
    "act": _OF
    | {
        "held": BodyField(bytes, "int32 LE, who is held safe", required=True),
        "executed": BodyField(bytes, "int16 LE [held, F]; -1 not known", required=True),
    },
    "plan": _OF,
    "prefer": _OF | {"added": BodyField(dict, "modality to log-preferences", required=True)},
    "believe": _OF
    | {
        "factor": BodyField(int, "whose beliefs", required=True),
        "beliefs": BodyField(bytes, "float32 LE [N, S]", required=True),
    },
    "override": _OF
    | {
        "agent": BodyField(str, "its name", required=True),
        "control": BodyField(str, "its name", required=True),
        "value": BodyField(
            str, "what replaces the agent's decision; empty: the override ended", required=True
        ),
        "until": BodyField(float, "Unix time of its end; 0 if it ended", required=True, unit="s"),
    },
}
"""What stands in frames; ``horizon`` (int or None) in begin and plan, ``names`` (text or list) in begin."""


class RecordingFile(Protocol):
    """Where frames go; failures are PlatformError."""

    def write(self, data: bytes) -> None:
        """Append."""

    def rotate(self) -> None:
        """Make the present segment the old one and begin a new one."""

    def close(self) -> None:
        """See to it that everything is written."""


def frame(content: dict[str, Any]) -> bytes:
    """Return one frame."""
    packed = zlib.compress(msgpack.packb(content), 1)
    return len(packed).to_bytes(4, "little") + zlib.crc32(packed).to_bytes(4, "little") + packed


def frames(data: bytes) -> Iterator[dict[str, Any]]:
    """Yield the frames of a recording up to its end or to the first that is torn.

    Raises
    ------
    ConfigError
        A frame is whole and holds something else than a recorder writes.
    """
    offset = 0
    while offset + _HEADER <= len(data):
        size = int.from_bytes(data[offset : offset + 4], "little")
        packed = data[offset + _HEADER : offset + _HEADER + size]
        if size > MAX_FRAME or len(packed) < size:
            return
        if zlib.crc32(packed).to_bytes(4, "little") != data[offset + 4 : offset + _HEADER]:
            return
        yield _content(offset, packed)
        offset += _HEADER + size


def _content(offset: int, packed: bytes) -> dict[str, Any]:
    where = f"recording: frame at byte {offset}"
    try:
        unpacker = zlib.decompressobj()
        text = unpacker.decompress(packed, MAX_FRAME)
        if not unpacker.eof:
            raise ConfigError(f"{where}: over {MAX_FRAME} bytes unpacked, or cut off")
        content = msgpack.unpackb(text)
    except (zlib.error, ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        raise ConfigError(f"{where}: cannot be unpacked ({error})") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{where}: holds {type(content).__name__}, expected a map")
    schema = FRAMES.get(str(content.get("kind")))
    if schema is None:
        raise ConfigError(f"{where}: kind {content.get('kind')!r}, expected one of {', '.join(FRAMES)}")
    try:
        bodies.check(schema, content, where)
    except PeerError as error:
        raise ConfigError(str(error)) from error
    return content


def _learning(config: PopulationConfig) -> dict[str, Any]:
    match config.learn:
        case "off":
            return {}
        case "frozen":
            return {"learn_every": 0}
        case "agent":
            return {"learn_every": config.learn_every, "learn_own": True}
    return {"learn_every": config.learn_every}


def begin_frame(name: str, group: Group) -> bytes:
    """Return the frame from which population ``name`` can be made again."""
    return frame(
        {
            "v": VERSION,
            "kind": "begin",
            "population": name,
            "digest": group.digest,
            "bundle": group.bundle,
            "size": len(group.names),
            "seed": group.config.seed,
            "horizon": group.horizon,
            "prefer": {str(m): list(values) for m, values in group.preferred.items()},
            "names": group.config.agents if isinstance(group.config.agents, str) else list(group.names),
            "beliefs": group.model_port.checkpoint(),
            "redecides": group.redecides,
        }
        | _learning(group.config)
    )


def step_frame(name: str, tick: int, step: Step, size: int, kind: str = "step") -> bytes:
    """Return the frame of one step or of decisions within a tick; no agents: all ``size`` of them."""
    everyone = len(step.agents) == size
    return frame(
        _held(step.executed)
        | _soft(step.soft)
        | {
            "kind": kind,
            "population": name,
            "tick": tick,
            "agents": b"" if everyone else step.agents.astype("<i4").tobytes(),
            "observed": step.observed.tobytes(),
            "actions": step.chosen.astype("<i2").tobytes(),
            "shape": [len(step.observed), step.observed.shape[1], step.chosen.shape[1]],
        }
    )


def act_frame(name: str, executed: Executed) -> bytes:
    """Return the frame of what agents did between two steps instead of what they chose."""
    return frame(_held(executed) | {"kind": "act", "population": name})


def _soft(soft: Distributions | None) -> dict[str, Any]:
    if soft is None:
        return {}
    return {"soft": {str(m): weights.astype("<f4").tobytes() for m, weights in soft.items()}}


def _held(executed: Executed | None) -> dict[str, Any]:
    if executed is None:
        return {}
    return {
        "held": executed.agents.astype("<i4").tobytes(),
        "executed": executed.actions.astype("<i2").tobytes(),
    }


@dataclass(slots=True)
class RecorderCounters:
    """What happened since the start."""

    frames: int = 0
    bytes: int = 0
    segments: int = 0
    failed: int = 0
    reason: str = ""


class Recorder:
    """Writes frames to a file, two segments of ``max_bytes`` together; a disk that refuses ends it.

    Without a file, before `start` and after `close`, every call does nothing.
    """

    def __init__(self, max_bytes: int = 0) -> None:
        self._file: RecordingFile | None = None
        self._limit = max_bytes // 2
        self._segment = 0
        self.counters = RecorderCounters()

    @property
    def recording(self) -> bool:
        """Whether frames are taken."""
        return self._file is not None

    def start(self, file: RecordingFile, groups: Mapping[str, Group]) -> None:
        """Begin a recording in ``file`` with the populations as they are now."""
        self._file = file
        self._begin_segment(groups)

    def begin(self, name: str, group: Group) -> None:
        """Note that population ``name`` is another one from here on."""
        if self._file is not None:
            self._write(begin_frame(name, group))

    def step(self, name: str, tick: int, step: Step, groups: Mapping[str, Group]) -> None:
        """Record one step that was made; ``groups`` begin the next segment when this one is full."""
        if self._file is None:
            return
        self._write_and_rotate(step_frame(name, tick, step, len(groups[name].names)), groups)

    def record_passed(self, name: str, observed: NDArray[Any], soft: Distributions | None) -> None:
        """Record what all agents observed (N, M), ``soft`` in place of bins, in a tick that passed without a
        step.
        """
        if self._file is not None:
            content = {"kind": "pass", "population": name, "observed": observed.tobytes()}
            self._write(frame(_soft(soft) | content))

    def decide(self, name: str, tick: int, decision: Step, groups: Mapping[str, Group]) -> None:
        """Record decisions within a tick; ``groups`` as for `step`."""
        if self._file is not None:
            size = len(groups[name].names)
            self._write_and_rotate(step_frame(name, tick, decision, size, "decide"), groups)

    def _write_and_rotate(self, data: bytes, groups: Mapping[str, Group]) -> None:
        self._write(data)
        if self._segment >= self._limit and self._file is not None:
            try:
                self._file.rotate()
            except PlatformError as error:
                self._end(error)
                return
            self._begin_segment(groups)

    def act(self, name: str, executed: Executed) -> None:
        """Note what agents of population ``name`` do from here on instead of what they chose."""
        if self._file is not None:
            self._write(act_frame(name, executed))

    def override(self, name: str, agent: str, control: str, value: str, until: float) -> None:
        """Note that a user replaces an agent's decision by ``value`` (empty: no longer)."""
        if self._file is not None:
            content = {"kind": "override", "population": name, "agent": agent, "control": control}
            self._write(frame(content | {"value": value, "until": until}))

    def plan(self, name: str, horizon: int | None) -> None:
        """Note how far ahead population ``name`` plans from here on."""
        if self._file is not None:
            self._write(frame({"kind": "plan", "population": name, "horizon": horizon}))

    def prefer(self, name: str, group: Group) -> None:
        """Note what population ``name`` prefers beside its own C from here on."""
        if self._file is None:
            return
        added = {str(m): list(values) for m, values in group.preferred.items()}
        self._write(frame({"kind": "prefer", "population": name, "added": added}))

    def record_beliefs(self, name: str, factor: int, beliefs: NDArray[np.float32]) -> None:
        """Note that all agents of ``name`` take ``beliefs`` (N, S) about ``factor`` over from their peers."""
        if self._file is None:
            return
        content = {"kind": "believe", "population": name, "factor": factor}
        self._write(frame(content | {"beliefs": beliefs.astype("<f4").tobytes()}))

    def close(self) -> None:
        """End the recording."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _begin_segment(self, groups: Mapping[str, Group]) -> None:
        self._segment = 0
        self.counters.segments += 1
        for name, group in groups.items():
            self._write(begin_frame(name, group))

    def _write(self, data: bytes) -> None:
        if self._file is None:
            return
        try:
            self._file.write(data)
        except PlatformError as error:
            self._end(error)
            return
        self.counters.frames += 1
        self.counters.bytes += len(data)
        self._segment += len(data)

    def _end(self, error: PlatformError) -> None:
        self.counters.failed += 1
        self.counters.reason = str(error)
        self._file = None
