"""The outbox: stores telemetry on disk before it is sent, and removes it once the broker has acknowledged it.

Theory of operation. Bodies are compressed and gathered in memory, numbered when they are handed to the
store (one transaction every ``flush_seconds``: SD cards wear), and sent only when the store says that
they are durable. So a number that was ever on the wire is never used again, after a power cut included,
and the numbers of one outbox have no holes. What the broker acknowledged is removed with the next
transaction; a crash in between sends it twice, and receivers drop repetitions by number. An outbox that
had to be started anew numbers from 1 under another name (``outbox`` in the body).

In which order they go is decided by ``protocol.lanes``; with ``confirm``, an entry stays until the hub says
that it has stored it (``down/confirm``, ``protocol.unconfirmed``).

Limits. Over ``max_bytes`` the oldest entries of the least important priority are thinned out: every
second one of a chunk goes, so that a long outage gets coarser towards the past and an entry of priority 0
(state) is never given up for samples. Entries past ``max_age`` go the same way, whole. What is gone is
reported to the receiver as ranges of numbers (``skipped``), so it is never mistaken for a loss. In memory
there is what waits for the store (at most ``pending_bytes``; beyond that new entries push out old ones,
counted), one chunk a lane, and what is in flight.

How a main loop uses it: ``append`` when something was measured; ``effects += outbox.advance(session, now,
t)`` in every round; ``outbox.delivered(token)`` on `Delivered`; ``outbox.confirmed(payload)`` on
``down/confirm``; ``outbox.online()`` on `Online`; ``outbox.deadline`` joins the session's.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgpack

from edge_agent.errors import PeerError
from edge_agent.protocol.lanes import Lanes
from edge_agent.protocol.outbox_store import Batch, OutboxEntry, OutboxStore, Range, merged
from edge_agent.protocol.ports import Publication
from edge_agent.protocol.session import Effect, Session
from edge_agent.protocol.unconfirmed import Held, Unconfirmed
from edge_agent.wire import bodies, messages

STATE = 0
"""Priority of what is never thinned out."""
SAMPLES = 1
"""Priority of what may be."""

_THIN = 256
_SKIPPED_PER_MESSAGE = 200


@dataclass(frozen=True, slots=True)
class OutboxSettings:
    """Limits: ``max_bytes`` on disk, ``max_age`` in seconds (0: none), what may wait in memory in bytes."""

    max_bytes: int = 64 * 1024 * 1024
    max_age: float = 0.0
    flush_seconds: float = 2.0
    pending_bytes: int = 1024 * 1024
    reserve: int = 4
    confirm: bool = False
    confirm_seconds: float = 60.0


@dataclass(slots=True)
class OutboxCounters:
    """Entries since start.

    Stored, sent, delivered; thinned out by limits, pushed out before they were stored (``overflow``),
    damaged on the disk; and transactions that failed.
    """

    stored: int = 0
    sent: int = 0
    delivered: int = 0
    thinned: int = 0
    overflow: int = 0
    damaged: int = 0
    malformed: int = 0
    failures: int = 0


class Outbox:
    """The state machine; see the module's head.

    Parameters
    ----------
    settings : OutboxSettings
        Limits.
    topic : str
        Where entries are published (QoS 1).
    learned : str
        Where those are published that say what was learned: they have the key ``piece``.
    store : OutboxStore
        Where they are durable.
    """

    def __init__(self, settings: OutboxSettings, topic: str, store: OutboxStore, learned: str = "") -> None:
        self.settings = settings
        self.counters = OutboxCounters()
        self._due: float | None = None
        self.failure = ""
        self._topic = topic
        self._learned = learned or topic
        self._store = store
        contents = store.contents()
        self.name = contents.name
        self.size = contents.size
        self._last = self._durable = contents.last
        self._pending: deque[tuple[float, int, bytes]] = deque()
        self._pending_bytes = self._writing_bytes = 0
        self._writing: Batch | None = None
        self._lanes = Lanes(contents.last)
        self._unconfirmed = Unconfirmed(settings.confirm_seconds)
        self._in_flight: dict[int, tuple[int, int, tuple[Range, ...]]] = {}
        self._removable: list[Range] = []
        self._reported_ranges: list[Range] = []
        self._unreadable: list[Range] = []
        self._undo: tuple[list[Range], list[Range], list[Range]] = ([], [], [])
        self._to_tell = True

    @property
    def backlog(self) -> int:
        """Bytes stored or waiting to be stored, not acknowledged."""
        return self.size + self._pending_bytes + self._writing_bytes

    @property
    def deadline(self) -> float | None:
        """When `advance` has something to store; None while there is nothing, or the store is at work."""
        return self._due if self._writing is None else None

    def in_memory(self, priority: int) -> bool:
        """Return whether an entry of this priority is not yet on the disk."""
        writing = () if self._writing is None else self._writing.append
        return any(p == priority for _, p, _ in self._pending) or any(e.priority == priority for e in writing)

    @property
    def idle(self) -> bool:
        """Whether `advance` has nothing to do before something is appended, confirmed or lost."""
        stored = self._writing is None and self._due is None and not self._removable
        return stored and self._unconfirmed.empty and self._lanes.empty

    def append(self, body: Mapping[str, Any], t: float, now: float, priority: int = SAMPLES) -> None:
        """Take a telemetry body in; ``t`` is the Unix time it was made."""
        data = zlib.compress(msgpack.packb(body), 1)
        self._pending.append((t, priority, data))
        self._pending_bytes += len(data)
        self._bound_pending()
        soon = now + self.settings.flush_seconds
        if self._due is None or len(self._pending) == 1:  # what is only to be removed has more time
            self._due = soon if self._due is None else min(self._due, soon)

    def online(self) -> None:
        """Take note that the connection came up: what is stored and not sent is historical from now on."""
        self._lanes.online()
        self._lanes.again(self._unconfirmed.release())

    def delivered(self, token: int) -> None:
        """Note that the broker has the message; tokens of other publications are ignored."""
        sent = self._in_flight.pop(token, None)
        if sent is not None:
            seq, size, ranges = sent
            self.counters.delivered += 1
            if self.settings.confirm and self._unconfirmed.hold(
                Held(seq, size, ranges, self.counters.delivered)
            ):
                return
            self._removable.append((seq, size))
            self._reported_ranges.extend(ranges)

    def confirmed(self, payload: bytes) -> None:
        """Take in what the hub says it has stored; a malformed message is counted and ignored."""
        try:
            body = messages.decode(payload).body
            bodies.check(bodies.CONFIRM, body, "confirm")
        except PeerError:
            self.counters.malformed += 1
            return
        if not self.settings.confirm or body["outbox"] != self.name:
            return
        ranges: list[Range] = [(first, last) for first, last in body["ranges"]]
        in_flight = {seq for seq, _, _ in self._in_flight.values()}
        free, late = self._unconfirmed.confirm(ranges, in_flight)
        self._removable += [(held.seq, held.size) for held in free]
        self._reported_ranges += [range_ for held in free for range_ in held.skipped]
        if late:
            self._lanes.again(late)

    def advance(self, session: Session, now: float, t: float) -> list[Effect]:
        """Store what is due and send what the session has room for; ``t`` is Unix time."""
        self._collect(now)
        if self._writing is None and self._due is not None and now >= self._due:
            self._flush(t)
        overdue = self._unconfirmed.overdue(now)
        if overdue:
            self._lanes.again(overdue)
        effects: list[Effect] = []
        reserve = min(self.settings.reserve, session.limit // 2)  # room for replies and actions
        while session.credit > reserve and not self._unconfirmed.full:
            entry, historical = self._lanes.pop(self._store)
            if entry is None:
                break
            body = _unpacked(entry.data)
            if body is None:  # the disk has changed it
                self.counters.damaged += 1
                self._removable.append((entry.seq, len(entry.data)))
                self._unreadable.append((entry.seq, entry.seq))
                continue
            ranges = self._unreported()
            token, sends = session.publish(self._publication(entry, body, historical, ranges), now)
            self._in_flight[token] = (entry.seq, len(entry.data), ranges)
            self.counters.sent += 1
            effects += sends
        if self._removable and self._due is None:
            self._due = now + 5 * self.settings.flush_seconds
        return effects

    def close(self, t: float, wait: Callable[[], object]) -> None:
        """Store what is pending. ``wait`` blocks until the store has news."""
        self.failure = ""
        while True:
            self._collect(0.0)
            if self._writing is not None:
                wait()
            elif self.failure or not (self._pending or self._removable):
                return
            else:
                self._flush(t)

    def _bound_pending(self) -> None:
        limit = self.settings.pending_bytes - self._writing_bytes
        while self._pending_bytes > limit and len(self._pending) > 1:
            worst = max(priority for _, priority, _ in self._pending)
            index = next(i for i, entry in enumerate(self._pending) if entry[1] == worst)
            self._pending_bytes -= len(self._pending[index][2])
            del self._pending[index]
            self.counters.overflow += 1

    def _flush(self, t: float) -> None:
        entries = [
            OutboxEntry(self._last + 1 + i, made, priority, data)
            for i, (made, priority, data) in enumerate(self._pending)
        ]
        gone, freed = self._excess(sum(len(e.data) for e in entries), t)
        removable = [(seq, seq) for seq, _ in self._removable] + gone
        self.size -= sum(size for _, size in self._removable) + freed
        self.counters.thinned += len(gone)
        skipped = merged(gone + self._unreadable)
        batch = Batch(tuple(entries), merged(removable), skipped, tuple(self._reported_ranges))
        self._undo = (self._removable, self._reported_ranges, self._unreadable)
        self._writing, self._writing_bytes = batch, self._pending_bytes
        self._pending.clear()
        self._pending_bytes = 0
        self._removable = []
        self._reported_ranges = []
        self._unreadable = []
        self._due = None
        self._store.write(batch)

    def _excess(self, coming: int, t: float) -> tuple[list[Range], int]:
        """Choose what is given up for the limits: its numbers as ranges of one, and its bytes."""
        busy = {seq for seq, _, _ in self._in_flight.values()} | {seq for seq, _ in self._removable}
        busy |= {*self._unconfirmed.numbers, *self._lanes.ahead()}
        gone: dict[int, int] = {}
        if self.settings.max_age:
            gone |= dict(self._store.oldest(_THIN, t - self.settings.max_age))
        needed = self.size + coming - self.settings.max_bytes
        limit = _THIN
        while needed > sum(gone.values()):
            found = self._store.oldest(limit, None)
            gone |= {seq: size for seq, size in thin(found) if seq not in busy}
            if len(found) < limit:
                break
            limit *= 2
        gone = {seq: size for seq, size in gone.items() if seq not in busy}
        return [(seq, seq) for seq in sorted(gone)], sum(gone.values())

    def _collect(self, now: float) -> None:
        if self._writing is None:
            return
        result = self._store.written()
        if result is None:
            return
        batch, self._writing = self._writing, None
        self._writing_bytes = 0
        if result.failed:
            self.failure = result.failed
            self.counters.failures += 1
            self._pending.extendleft((e.t, e.priority, e.data) for e in reversed(batch.append))
            self._pending_bytes += sum(len(e.data) for e in batch.append)
            self._bound_pending()
            removable, ranges, unreadable = self._undo
            self._removable += removable
            self._reported_ranges += ranges
            self._unreadable += unreadable
            self._due = now + self.settings.flush_seconds  # a disk that has room again is used at once
            contents = self._store.contents()
            if contents.name != self.name:  # it was set aside and started anew
                self.name, self._last, self._durable = contents.name, contents.last, contents.last
                self._lanes = Lanes(contents.last)
                self._in_flight, self._removable, self._reported_ranges = {}, [], []
                self._unconfirmed.forget()
                self._unreadable = []
            self.size = contents.size
            return
        self.failure = ""
        self._to_tell = self._to_tell or bool(batch.skipped)
        if batch.append:
            first, last = batch.append[0].seq, batch.append[-1].seq
            self._last = self._durable = last
            self.size += sum(len(e.data) for e in batch.append)
            self.counters.stored += len(batch.append)
            self._lanes.add(first, last)

    def _unreported(self) -> tuple[Range, ...]:
        if not self._to_tell:
            return ()
        reported = {r for _, _, ranges in self._in_flight.values() for r in ranges} | set(
            self._reported_ranges
        )
        reported.update(self._unconfirmed.skipped())
        if reported:
            return ()  # one message at a time carries them
        ranges = tuple(self._store.skipped(_SKIPPED_PER_MESSAGE))
        self._to_tell = bool(ranges)
        return ranges

    def _publication(
        self, entry: OutboxEntry, body: dict[str, Any], historical: bool, ranges: tuple[Range, ...]
    ) -> Publication:
        body["outbox"] = self.name
        if historical:
            body["historical"] = True
        if ranges:
            body["skipped"] = [list(r) for r in ranges]
        message = messages.Message(body, id=f"{self.name}-{entry.seq}", seq=entry.seq, t=entry.t)
        topic = self._learned if "piece" in body else self._topic
        return Publication(topic, messages.encode(message), content_type="application/msgpack")


def _unpacked(data: bytes) -> dict[str, Any] | None:
    try:
        body: dict[str, Any] = msgpack.unpackb(zlib.decompress(data), strict_map_key=False)
    except (zlib.error, ValueError, TypeError, msgpack.UnpackException):
        return None
    return body


def thin(entries: Sequence[Range]) -> list[Range]:
    """Return every second of (number, bytes) pairs, the oldest first: what is given up of a full chunk."""
    return list(entries[::2])
