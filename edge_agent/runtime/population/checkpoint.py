"""Checkpoints: beliefs and counters in one file, which is ignored unless it is complete.

Theory of operation. The file is a magic number, the CRC-32 of the rest, and a zlib-packed msgpack map: for
each population its bundle's digest, size, counters, the engine's own checkpoint, and the Unix time at which
its open tick began; and the messages of learned epochs that the outbox may not have stored yet. It is
replaced by an atomic rename, so that a power cut leaves the old one or the new one. A population resumes only
if its bundle and size are the same. Ticks that passed while the daemon was off are made up; none are if the
clock is behind the checkpoint's. The write rate is limited by an interval and by bytes per day, since SD
cards wear.
"""

from __future__ import annotations

import logging
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Protocol

import msgpack

from edge_agent.errors import EdgeAgentError, PeerError, PlatformError
from edge_agent.protocol.ports import Clock
from edge_agent.runtime.population.counters import GroupCounters
from edge_agent.runtime.population.group import Group
from edge_agent.wire import bodies
from edge_agent.wire.bodies import BodyField
from edge_agent.wire.body_checks import MAX_COUNT
from edge_agent.wire.fields import integer
from edge_agent.wire.learned_body import LEARNED

log = logging.getLogger("edge_agent")

NAME = "checkpoint"
DAY_S = 86400.0
_MAGIC = b"EACKPT01"
_ENTRY: bodies.Schema = {
    "digest": BodyField(str, "of its bundle", required=True),
    "size": BodyField(int, "agents", required=True),
    "counters": BodyField(dict, "of the group", required=True),
    "beliefs": BodyField(bytes, "the engine's checkpoint", required=True),
    "opened_ms": BodyField(int, "Unix time, ms: when the tick began that was open", least=0, most=MAX_COUNT),
}


class StateStore(Protocol):
    """Files by name, each replaced as a whole; failures are PlatformError."""

    def save(self, name: str, data: bytes) -> None:
        """Replace file ``name`` in one step, and see to it that it reached the disk."""

    def load(self, name: str) -> bytes | None:
        """Return the content of file ``name``, None if there is none."""


def encode(groups: Mapping[str, Group], clock: Clock, epochs: Sequence[Mapping[str, Any]] = ()) -> bytes:
    """Return the checkpoint of all populations, and of ``epochs``: bodies that wait for the outbox."""
    populations: dict[str, dict[str, Any]] = {
        name: {
            "digest": group.digest,
            "size": len(group.names),
            "counters": asdict(group.counters),
            "beliefs": group.model_port.checkpoint(),
        }
        for name, group in groups.items()
    }
    booted = clock.time() - clock.monotonic()
    for name, group in groups.items():
        if group.on_time and group.opened is not None:
            populations[name]["opened_ms"] = max(int((booted + group.opened) * 1000), 0)
    packed = zlib.compress(msgpack.packb({"populations": populations, "epochs": list(epochs)}), 1)
    return _MAGIC + zlib.crc32(packed).to_bytes(4, "little") + packed


def decode(data: bytes) -> dict[str, dict[str, Any]]:
    """Return what `encode` wrote, by population.

    Raises
    ------
    PlatformError
        The file is not whole.
    """
    populations = _content(data).get("populations")
    if not isinstance(populations, dict):
        raise PlatformError(f"{NAME}: holds no populations")
    for name, entry in populations.items():
        if not isinstance(entry, dict):
            raise PlatformError(f"{NAME}: population {name!r} is {type(entry).__name__}, expected a map")
        try:
            bodies.check(_ENTRY, entry, f"{NAME}: population {name!r}")
        except PeerError as error:
            raise PlatformError(str(error)) from error
    return populations


def waiting_epochs(data: bytes) -> list[dict[str, Any]]:
    """Return the ``epochs`` that `encode` was given; a file from before there were any has none.

    Raises
    ------
    PlatformError
        The file is not whole.
    """
    found = _content(data).get("epochs", [])
    if not isinstance(found, list) or not all(isinstance(body, dict) for body in found):
        raise PlatformError(f"{NAME}: epochs: expected a list of maps")
    for body in found:
        try:
            bodies.check(LEARNED, body, f"{NAME}: epochs")
        except PeerError as error:
            raise PlatformError(str(error)) from error
    return found


def _content(data: bytes) -> dict[str, Any]:
    start = len(_MAGIC) + 4
    if data[: len(_MAGIC)] != _MAGIC:
        raise PlatformError(f"{NAME}: does not begin with {_MAGIC.decode()}")
    if zlib.crc32(data[start:]).to_bytes(4, "little") != data[len(_MAGIC) : start]:
        raise PlatformError(f"{NAME}: its checksum does not fit")
    try:
        content = msgpack.unpackb(zlib.decompress(data[start:]))
    except (zlib.error, ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        raise PlatformError(f"{NAME}: cannot be unpacked ({error})") from error
    if not isinstance(content, dict):
        raise PlatformError(f"{NAME}: is {type(content).__name__}, expected a map")
    return content


def resume(
    saved: Mapping[str, Mapping[str, Any]], groups: Mapping[str, Group], clock: Clock
) -> tuple[list[str], list[PlatformError]]:
    """Give the populations that are still the same their beliefs and counters back.

    Returns
    -------
    resumed : list of str
        Their names.
    faults : list of PlatformError
        What was kept and is not a state of its population, which begins anew; the others go on.
    """
    resumed: list[str] = []
    faults: list[PlatformError] = []
    for name, group in groups.items():
        entry = saved.get(name)
        if entry is None:
            continue
        if entry["digest"] != group.digest or entry["size"] != len(group.names):
            log.info("%s: population %r has another bundle or size there; its beliefs are reset", NAME, name)
            continue
        try:
            group.resume_from(entry["beliefs"], _counters(entry["counters"]))
            passed = clock.time() - entry.get("opened_ms", math.inf) / 1000
            if group.on_time and passed >= 0.0:
                group.reopen(clock.monotonic() - passed)
        except EdgeAgentError as error:
            faults.append(PlatformError(f"{NAME}: population {name!r} cannot be restored: {error}"))
        else:
            resumed.append(name)
    return resumed, faults


def _counters(kept: Mapping[str, Any]) -> GroupCounters:
    unknown = kept.keys() - {field.name for field in fields(GroupCounters)}
    if unknown:
        raise PeerError(f"counters: found {sorted(map(str, unknown))[0]!r}, which this version does not know")
    return GroupCounters(**{name: integer(kept, name, 0, 2**63 - 1) for name in kept})


@dataclass(slots=True)
class CheckpointCounters:
    """What happened since the start."""

    written: int = 0
    bytes: int = 0
    failed: int = 0
    reason: str = ""


class Checkpoints:
    """Writes checkpoints to ``store``, ``mb_per_day`` at most, ``interval_s`` apart at least."""

    def __init__(self, store: StateStore, interval_s: float, mb_per_day: float) -> None:
        self._store = store
        self._interval_s = interval_s
        self._bytes_per_day = mb_per_day * 1e6
        self.counters = CheckpointCounters()
        self.resumed: list[str] = []
        self.epochs: list[dict[str, Any]] = []
        """Messages of learned epochs that go into every checkpoint until the outbox has stored them."""

    def status(self) -> dict[str, Any]:
        """Return the counters in plain types."""
        return asdict(self.counters)

    def resume(self, groups: Mapping[str, Group], clock: Clock) -> None:
        """Give populations back what the last run wrote; a damaged file is noted and left alone."""
        try:
            data = self._store.load(NAME)
            if data is not None:
                self.resumed, faults = resume(decode(data), groups, clock)
                self.epochs += waiting_epochs(data)
                for fault in faults:
                    self._note(fault)
        except PlatformError as error:
            self._note(error)

    def write(self, groups: Mapping[str, Group], clock: Clock) -> float:
        """Write one; return the seconds until the next. A disk that refuses is noted, not fatal."""
        data = encode(groups, clock, self.epochs)
        try:
            self._store.save(NAME, data)
        except PlatformError as error:
            self._note(error)
        else:
            self.counters.written += 1
            self.counters.bytes += len(data)
            self.counters.reason = ""
        return max(self._interval_s, len(data) * DAY_S / self._bytes_per_day)

    def _note(self, error: PlatformError) -> None:
        log.warning("%s", error)
        self.counters.failed += 1
        self.counters.reason = str(error)
